"""People who sign in. A user name is unique within a kitchen: each kitchen has its own "budi"."""

from typing import Any

from django.contrib.auth.models import AbstractBaseUser, BaseUserManager, PermissionsMixin
from django.db import models
from django.utils.translation import gettext_lazy as _

from kitchens.models import Kitchen


class Role(models.TextChoices):
    """What somebody does in the kitchen."""

    ADMIN = "SPPG_ADMIN", _("Head of kitchen")
    NUTRITIONIST = "NUTRITIONIST", _("Nutritionist")
    ACCOUNTANT = "ACCOUNTANT", _("Accountant")
    COOK = "COOK", _("Cook")
    DRIVER = "DRIVER", _("Driver")


def login_of(handle: str, sppg_id: str | None) -> str:
    """The name that identifies somebody in the whole network: ``budi@sppg-jakarta-001``."""
    handle = handle.strip().lower()
    return f"{handle}@{sppg_id}" if sppg_id else handle


class UserManager(BaseUserManager["User"]):
    """Loads the kitchen with the user: every page names it."""

    def get_queryset(self) -> models.QuerySet["User"]:
        """Users, each with the kitchen in the same query."""
        return super().get_queryset().select_related("sppg")

    def create_user(self, handle: str, sppg: Kitchen | None, password: str | None = None, **fields: Any) -> "User":
        """Somebody of a kitchen; ``sppg=None`` is staff of the network itself."""
        user = self.model(handle=handle, sppg=sppg, **fields)
        user.set_password(password)
        user.save(using=self._db)
        return user

    def create_superuser(self, login: str, password: str | None = None, **fields: Any) -> "User":
        """``manage.py createsuperuser``: the network's administrator, of no kitchen."""
        return self.create_user(login, None, password, is_staff=True, is_superuser=True, **fields)


class User(AbstractBaseUser, PermissionsMixin):
    """Somebody who signs in."""

    login = models.CharField(_("sign-in name"), max_length=160, unique=True, editable=False)
    handle = models.SlugField(_("user name"), max_length=60)
    sppg = models.ForeignKey(
        Kitchen, models.CASCADE, null=True, blank=True, related_name="users", verbose_name=_("kitchen")
    )
    name = models.CharField(_("full name"), max_length=100, blank=True)
    role = models.CharField(_("role"), max_length=20, choices=Role, default=Role.COOK)
    is_active = models.BooleanField(_("active"), default=True)
    is_staff = models.BooleanField(_("may enter the admin"), default=False)

    USERNAME_FIELD = "login"
    REQUIRED_FIELDS: list[str] = []

    objects = UserManager()

    class Meta:
        verbose_name = _("user")
        verbose_name_plural = _("users")
        ordering = ["login"]
        constraints = [models.UniqueConstraint(fields=["sppg", "handle"], name="one_handle_per_kitchen")]

    def __str__(self) -> str:
        return self.name or self.login

    def save(self, *args: Any, **kwargs: Any) -> None:
        """Keep ``login`` in step with the user name and the kitchen."""
        self.handle = self.handle.strip().lower()
        self.login = login_of(self.handle, self.sppg_id)
        super().save(*args, **kwargs)

    @property
    def tenant(self) -> str | None:
        """The tenant this user works for; ``bergizi_redis`` reads it at sign-in and on every request."""
        return self.sppg_id

    @property
    def may_plan_menus(self) -> bool:
        """Whether this person may change menus."""
        return self.role in {Role.ADMIN, Role.NUTRITIONIST}

    @property
    def may_end_sessions(self) -> bool:
        """Whether this person may sign others of the kitchen out."""
        return self.role == Role.ADMIN
