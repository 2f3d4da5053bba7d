"""Plans the rows of one kitchen. The same kitchen id and day always give the same rows."""

import datetime
import random
import zoneinfo
from typing import Any

from accounts.models import Role, User, login_of
from distribution.models import Delivery, School
from hrd.models import Employee, Shift
from inventory.models import StockItem, StockMove
from kitchens.models import Kitchen
from kitchens.sample.sources import Recipe, Region, local_plates, recipes, regions
from menus.models import Dish, Ingredient, Menu
from procurement.models import OrderLine, PurchaseOrder, Supplier
from production.models import Batch

STAFF = [
    ("siti", "Siti", Role.ADMIN, "Kepala SPPG"),
    ("budi", "Budi", Role.NUTRITIONIST, "Ahli gizi"),
    ("rina", "Rina", Role.ACCOUNTANT, "Akuntan"),
    ("agus", "Agus", Role.COOK, "Juru masak"),
    ("joko", "Joko", Role.DRIVER, "Pengemudi"),
]
HELPERS = [("Dewi", "Juru masak"), ("Wayan", "Pemorsian"), ("Maria", "Pemorsian"), ("Yusuf", "Kebersihan")]
LAST_NAMES = [
    *("Santoso", "Wijaya", "Hidayat", "Nugroho", "Siregar", "Lestari", "Pratama", "Kurniawan"),
    *("Tamba", "Bere", "Rahman", "Saputra", "Manurung", "Sihombing"),
]
SCHOOLS = ["TK Negeri Pembina", "SD Negeri 1", "SD Negeri 2", "SD Negeri 3", "SMP Negeri 1", "SMP Negeri 2"]
SUPPLIERS = ["Koperasi Tani Makmur", "CV Sumber Pangan", "UD Hasil Laut", "Kelompok Tani Sayur Segar"]
COURSES = {"staple": 5, "main": 8, "plant": 5, "vegetable": 7, "fruit": 5}
# Rupiah per kg or litre, rounded market prices; by the food group of the TKPI code, then by food.
PRICES = {"A": 15_000, "B": 14_000, "C": 16_000, "D": 12_000, "E": 17_000, "F": 40_000, "G": 42_000, "H": 29_000}
DEAR = {"FR025": 130_000, "NR019": 45_000, "NR014": 48_000, "NR007": 36_000}


def region_of(number: int) -> Region:
    """The region of the kitchen with this number, from 1."""
    return regions()[(number - 1) % len(regions())]


def kitchen_of(number: int) -> Kitchen:
    """The kitchen with this number, from 1: ``sppg-jakarta-001``."""
    region = region_of(number)
    return Kitchen(
        id=f"sppg-{region.slug}-{number:03d}",
        name=f"SPPG {region.place} {(number - 1) // len(regions()) + 1}",
        regency=region.regency,
        province=region.province,
        time_zone=region.time_zone,
    )


class KitchenPlan:
    """The rows of one kitchen as unsaved instances, model by model in the order in which they must be saved."""

    def __init__(self, number: int, day: datetime.date, password: str) -> None:
        self.kitchen = kitchen_of(number)
        self.region = region_of(number)
        self.day = day
        self.dice = random.Random(self.kitchen.pk)
        self.recipes = self.choose_recipes()
        self.menu_dishes: list[tuple[Menu, list[Dish]]] = []
        self.rows: dict[type, list[Any]] = {Kitchen: [self.kitchen]}
        self.plan_people(password)
        self.plan_menus()
        self.plan_store()
        self.plan_day()

    def add(self, model: type, **fields: Any) -> Any:
        """One more row of the kitchen."""
        row = model(sppg=self.kitchen, **fields)
        self.rows.setdefault(model, []).append(row)
        return row

    def at(self, day: datetime.date, hour: int, minute: int = 0) -> datetime.datetime:
        """A time of a day where the kitchen stands."""
        zone = zoneinfo.ZoneInfo(self.region.time_zone)
        return datetime.datetime(day.year, day.month, day.day, hour, minute, tzinfo=zone)

    def choose_recipes(self) -> list[Recipe]:
        """What this kitchen cooks: its region's own plate and others."""
        own = set(local_plates().get(self.region.slug, ()))
        chosen = []
        for course, number in COURSES.items():
            dishes = [recipe for recipe in recipes() if recipe.course == course]
            self.dice.shuffle(dishes)
            dishes.sort(key=lambda recipe: recipe.name not in own)
            chosen += dishes[:number]
        return chosen

    def plan_people(self, password: str) -> None:
        """Those who sign in, and those who only work here."""
        last = self.dice.sample(LAST_NAMES, len(STAFF) + len(HELPERS))
        people = [(f"{first} {last[i]}", job) for i, (_, first, _, job) in enumerate(STAFF)]
        for (handle, _, role, _), (name, _) in zip(STAFF, people, strict=True):
            login = login_of(handle, self.kitchen.pk)  # bulk_create does not call save()
            self.add(User, handle=handle, login=login, name=name, role=role, password=password)
        people += [(f"{first} {last[len(STAFF) + i]}", job) for i, (first, job) in enumerate(HELPERS)]
        for name, job in people:
            joined = self.day - datetime.timedelta(days=self.dice.randrange(30, 500))
            employee = self.add(Employee, name=name, job=job, joined=joined)
            start = 3 if job in {"Juru masak", "Pemorsian"} else 7
            for ahead in range(2):
                day = self.day + datetime.timedelta(days=ahead)
                self.add(Shift, employee=employee, starts=self.at(day, start), ends=self.at(day, start + 8))

    def plan_menus(self) -> None:
        """Dishes, and a menu for each school day of about two weeks."""
        dishes: dict[str, list[Dish]] = {course: [] for course in COURSES}
        for recipe in self.recipes:
            dish = self.add(Dish, name=recipe.name, course=recipe.course, **recipe.nutrition())
            dishes[recipe.course].append(dish)
            for food, grams in recipe.parts:
                self.add(Ingredient, dish=dish, food=food.name, tkpi_code=food.code, grams=grams)
        self.portions = self.dice.randrange(1800, 3400, 50)
        for turn in range(14):
            day = self.day + datetime.timedelta(days=turn - 2)
            # Schools rest on Sundays; the day of seeding has a menu all the same, so that there is one to look at.
            if day.weekday() == 6 and day != self.day:
                continue
            shift = (turn - 2) % 12  # turn 2 is today: the first of each course, which is the region's own plate
            plate = [of_course[shift % len(of_course)] for of_course in dishes.values()]
            status = Menu.Status.DONE if turn < 2 else Menu.Status.ACTIVE if turn < 9 else Menu.Status.DRAFT
            name = f"{plate[0].name}, {plate[1].name}"
            menu = self.add(Menu, name=name, day=day, status=status, portions=self.portions)
            self.menu_dishes.append((menu, plate))

    def plan_store(self) -> None:
        """Articles in store with their last movements, suppliers and orders."""
        foods = {food.code: food for recipe in self.recipes for food, _ in recipe.parts}
        articles = self.dice.sample(sorted(foods.values(), key=lambda food: food.code), 18)
        for food in articles:
            minimum = self.dice.randrange(20, 160, 5)
            part = self.dice.choice([0.3, 0.6, 1.2, 1.5, 1.8, 2.4, 3.0])
            quantity = round(minimum * part, 1)
            item = self.add(StockItem, article=food.name, unit=food.unit, minimum=minimum, quantity=quantity)
            moved = self.at(self.day - datetime.timedelta(days=1), self.dice.randrange(5, 16))
            self.add(StockMove, item=item, quantity=round(-minimum * 0.4, 1), moved=moved, note="Produksi")
        suppliers = [self.add(Supplier, name=f"{name} {self.region.place}") for name in SUPPLIERS]
        states = [PurchaseOrder.Status.DRAFT, PurchaseOrder.Status.SENT, *[PurchaseOrder.Status.RECEIVED] * 4]
        for turn, status in enumerate(states):
            day = self.day - datetime.timedelta(days=turn * 2)
            number = f"PO/{day:%Y%m%d}/{turn + 1:02d}"
            supplier = suppliers[turn % len(suppliers)]
            order = self.add(PurchaseOrder, number=number, supplier=supplier, ordered=day, status=status)
            for food in self.dice.sample(articles, 4):
                price = DEAR.get(food.code, PRICES.get(food.code[0], 18_000))
                quantity = self.dice.randrange(20, 260, 5)
                self.add(OrderLine, order=order, article=food.name, quantity=quantity, unit=food.unit, price=price)

    def plan_day(self) -> None:
        """Batches of today's menu, and what goes to which school."""
        menu = next(menu for menu in self.rows[Menu] if menu.day == self.day)
        states = [Batch.Status.PACKED, Batch.Status.COOKING, Batch.Status.PLANNED]
        for turn, status in enumerate(states):
            portions = menu.portions // 3 if turn < 2 else menu.portions - 2 * (menu.portions // 3)
            code, started = f"{self.day:%d%m}-{'ABC'[turn]}", self.at(self.day, 3 + turn * 2)
            self.add(Batch, menu=menu, code=code, portions=portions, started=started, status=status)
        shares = [self.dice.randrange(6, 16) for _ in SCHOOLS]
        steps = list(Delivery.Status)[::-1]  # delivered first
        driver = next(user.name for user in self.rows[User] if user.role == Role.DRIVER)
        for turn, name in enumerate(SCHOOLS):
            pupils = menu.portions * shares[turn] // sum(shares)
            distance = round(self.dice.uniform(0.6, 9.5), 1)
            school = self.add(School, name=f"{name} {self.region.place}", pupils=pupils, distance_km=distance)
            self.add(
                Delivery,
                school=school,
                driver=driver,
                vehicle=f"SPPG {turn // 2 + 1}",
                portions=pupils,
                leaves=self.at(self.day, 6 + turn // 2, 30 * (turn % 2)),
                status=steps[turn // 2],
            )
