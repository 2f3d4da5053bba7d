"""Locked accounts in Django's admin, over HTTP on the example: who sees whose, who may unlock, what is recorded.

Seen red: with the scope left out of ``Search._owners``, the tests of the other kitchen are.
"""

import re

from tests.admin.staffing import logged, staff
from tests.browser.exampleserver import BANDUNG, JAKARTA, Answer, Client, ExampleSite

PAGE, UNLOCK = "/admin/bergizi_redis/lockout/", "/admin/bergizi_redis/lockout/unlock/"

# Staff of one kitchen: "rina" may look, "budi" may unlock as well, "joko" may enter the admin and no more.
STAFF = staff({"rina": ["view_lockout"], "budi": ["view_lockout", "unlock_account"], "joko": []})
LOCK = """
from bergizi_redis.security import lockout
for name, tenant, scope in {}:
    lockout.unlock_account(name, tenant=tenant, scope=scope)
    for _ in range(5):
        lockout.record_login_attempt(name, success=False, tenant=tenant, scope=scope)
"""


def lock(site: ExampleSite, *accounts: tuple[str, str, str]) -> None:
    said = site.manage("shell", "-c", LOCK.format(list(accounts)))
    assert said.returncode == 0, said.stderr


def rows(answer: Answer) -> list[str]:
    return re.findall(r'name="row" value="([^"]+)"', answer.text)


def log(site: ExampleSite) -> list[list[str]]:
    entries = 'LogEntry.objects.filter(content_type__model="lockout")'
    return logged(site, entries, "user.login", "object_repr", "change_message")


def test_the_networks_staff_sees_all_tenants_with_masked_names_and_finds_one(
    site: ExampleSite, network: Client
) -> None:
    lock(site, ("siti-a", JAKARTA, "password"), ("asep-b", BANDUNG, "otp"))
    page = network.get(PAGE)
    assert {JAKARTA, BANDUNG} <= {row.split(":")[0] for row in rows(page)}
    assert "siti-a" not in page.text
    assert "otp" in page.text
    (found,) = rows(network.get(f"{PAGE}?name=SITI-A"))
    assert found.startswith(JAKARTA)
    assert rows(network.get(f"{PAGE}?tenant={BANDUNG}&name=siti-a")) == []
    assert "No account is locked" in network.get(f"{PAGE}?name=nobody").text


def test_a_kitchens_staff_sees_and_unlocks_its_own_alone(site: ExampleSite, network: Client, budi: Client) -> None:
    lock(site, ("siti-c", JAKARTA, "password"), ("asep-d", BANDUNG, "password"))
    (theirs,) = rows(network.get(f"{PAGE}?name=asep-d"))
    assert all(row.startswith(f"{JAKARTA}:") for row in rows(budi.get(PAGE)))
    assert rows(budi.get(f"{PAGE}?tenant={BANDUNG}")) == []
    answer = budi.post(UNLOCK, {"row": theirs, "reason": "they asked"})
    assert "no such account is locked" in answer.text
    assert rows(network.get(f"{PAGE}?name=asep-d")) == [theirs]


def test_unlocking_says_how_many_and_the_log_says_who_whom_and_why(site: ExampleSite, budi: Client) -> None:
    lock(site, ("siti-e", JAKARTA, "password"))
    (row,) = rows(budi.get(f"{PAGE}?name=siti-e"))
    assert "say why" in budi.post(UNLOCK, {"row": row, "reason": " "}).text
    assert rows(budi.get(f"{PAGE}?name=siti-e")) == [row]
    assert "1 account is unlocked" in budi.post(UNLOCK, {"row": row, "reason": "called from her phone"}).text
    assert rows(budi.get(f"{PAGE}?name=siti-e")) == []
    who, whom, why = log(site)[-1]
    assert who == f"budi@{JAKARTA}"
    assert JAKARTA in whom
    assert "siti-e" not in whom
    assert why == "unlocked: called from her phone"


def test_looking_and_unlocking_are_two_permissions(site: ExampleSite, budi: Client) -> None:
    lock(site, ("siti-f", JAKARTA, "password"))
    (row,) = rows(budi.get(f"{PAGE}?name=siti-f"))
    rina = site.client(JAKARTA, "rina")
    assert "locked account" in rina.get(PAGE).text
    assert rows(rina.get(PAGE)) == []
    assert rina.post(UNLOCK, {"row": row, "reason": "why not"}).status == 403
    assert site.client(JAKARTA, "joko").get(PAGE).status == 403
    assert rows(budi.get(f"{PAGE}?name=siti-f")) == [row]


def test_unlocking_is_a_post_only(budi: Client) -> None:
    assert budi.get(UNLOCK).status == 405
