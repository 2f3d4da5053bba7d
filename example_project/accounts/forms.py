"""Signing in: kitchen, user name, password."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from accounts.models import login_of
from kitchens.models import Kitchen

# Beyond this many kitchens, a list to choose from is slower than typing the id.
LONGEST_LIST = 60


class SignInForm(forms.Form):
    """Kitchen and user name together name one account."""

    kitchen = forms.CharField(label=_("Kitchen"), max_length=64)
    username = forms.CharField(
        label=_("User name"),
        max_length=60,
        widget=forms.TextInput(attrs={"autocomplete": "username", "autocapitalize": "none", "spellcheck": "false"}),
    )
    password = forms.CharField(
        label=_("Password"),
        strip=False,
        max_length=1024,
        widget=forms.PasswordInput(attrs={"autocomplete": "current-password"}),
    )
    next = forms.CharField(required=False, widget=forms.HiddenInput)

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, label_suffix="", **kwargs)
        kitchens = list(Kitchen.objects.values_list("pk", "name", "regency")[: LONGEST_LIST + 1])
        if len(kitchens) <= LONGEST_LIST:
            choices = [("", _("Choose your kitchen")), *((pk, f"{name} · {place}") for pk, name, place in kitchens)]
            self.fields["kitchen"].widget = forms.Select(choices=choices)
        else:
            self.fields["kitchen"].widget.attrs["placeholder"] = "sppg-jakarta-001"

    def clean_kitchen(self) -> str:
        """An id of a kitchen that exists."""
        kitchen: str = self.cleaned_data["kitchen"].strip().lower()
        if not Kitchen.objects.filter(pk=kitchen).exists():
            raise forms.ValidationError(_("There is no kitchen with this id."))
        return kitchen

    @property
    def login(self) -> str:
        """The network-wide name of the account, once the form is valid."""
        return login_of(self.cleaned_data["username"], self.cleaned_data["kitchen"])
