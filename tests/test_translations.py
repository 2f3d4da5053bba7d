"""The pages speak Indonesian whole: no string of the package is left untranslated, and the compiled file is current."""

import gettext
import re
from pathlib import Path

from django.template.loader import render_to_string
from django.utils import translation

import bergizi_redis

PACKAGE = Path(bergizi_redis.__file__).parent
CATALOGUE = PACKAGE / "locale" / "id" / "LC_MESSAGES" / "django.mo"
MARKED = re.compile(
    r"""(?:\b_\(|\btranslate\s|gettext\()\s*"([^"]+)"|ngettext\("([^"]+)"|\{% blocktranslate[^%]*%\}([^{]+)"""
)


def marked_strings() -> set[str]:
    """The beginnings of all strings that the code and the templates mark for translation."""
    found = set()
    for path in [*PACKAGE.rglob("*.py"), *PACKAGE.rglob("*.html")]:
        for groups in MARKED.findall(path.read_text(encoding="utf-8")):
            found.add("".join(groups).strip())
    return found


def test_every_marked_string_has_an_indonesian_translation() -> None:
    with CATALOGUE.open("rb") as file:
        catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
    known = [key[0] if isinstance(key, tuple) else key for key in catalogue]
    strings = marked_strings()
    assert len(strings) > 8
    assert not [text for text in strings if not any(key.startswith(text[:40]) for key in known)]


def test_the_outage_page_is_shown_in_indonesian() -> None:
    with translation.override("id"):
        page = render_to_string("bergizi_redis/unavailable.html", {"retry_after": 5, "style": ""})
    assert "Silakan coba lagi dalam 5 detik" in page
    assert "Try again" not in page
