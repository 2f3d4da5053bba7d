"""Planning a menu; the pages and the API validate with the same form."""

from typing import Any

from django import forms
from django.utils.translation import gettext_lazy as _

from bergizi_redis.tenancy import current_tenant
from menus.models import Dish, Menu


class MenuForm(forms.ModelForm):
    """A menu of the kitchen in force."""

    # Filled with the kitchen's own dishes below: the primary key of another kitchen's dish is no valid choice.
    dishes = forms.ModelMultipleChoiceField(
        queryset=Dish.objects.none(), widget=forms.CheckboxSelectMultiple, label=_("Dishes")
    )

    class Meta:
        model = Menu
        fields = ("name", "day", "status", "portions", "dishes")
        widgets = {"day": forms.DateInput(attrs={"type": "date"}, format="%Y-%m-%d")}

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, label_suffix="", **kwargs)
        self.fields["dishes"].queryset = Dish.here.all()
        self.instance.sppg_id = current_tenant()

    def dish_groups(self) -> list[tuple[str, list[tuple[Dish, bool]]]]:
        """The dishes by course, each with whether it is chosen, for the page's fieldsets."""
        chosen = {str(value) for value in self["dishes"].value() or []}
        dishes = list(self.fields["dishes"].queryset)
        groups = []
        for course in Dish.Course:
            found = [(dish, str(dish.pk) in chosen) for dish in dishes if dish.course == course]
            if found:
                groups.append((str(course.label), found))
        return groups
