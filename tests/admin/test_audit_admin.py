"""The audit trail in Django's admin, over HTTP on the example: who sees which events, and that nobody changes one."""

import re

from tests.admin.staffing import staff
from tests.browser.exampleserver import BANDUNG, JAKARTA, KUPANG, Client, ExampleSite

PAGE, ROWS = "/admin/bergizi_redis/audittrail/", "/admin/bergizi_redis/auditevent/"

# Staff of one kitchen: "budi" may look at both, "joko" may enter the admin and no more. "rina" of Jakarta has a trail
# with events of both kitchens, and 60 of her own.
STAFF = (
    staff({"budi": ["view_audittrail", "view_auditevent"], "joko": []})
    + f"""
from bergizi_redis import keys
from bergizi_redis.connections import client
from bergizi_redis.security import audit
rina = User.objects.get(sppg="{JAKARTA}", handle="rina")
for number in range(60):
    audit.record("authz_admin", rina.pk, tenant="{JAKARTA}", reason=f"step {{number}}", user_agent="<b>x</b>")
audit.record("authz_admin", rina.pk, tenant="{KUPANG}", reason="in Kupang")
audit.record("authz_admin", rina.pk, reason="in none")
agus = User.objects.get(sppg="{JAKARTA}", handle="agus")
for number in range(4):
    audit.record("authz_admin", agus.pk, tenant="{JAKARTA}")
server, name = client("sessions"), keys.audit(agus.pk)
server.xdel(name, server.xrange(name)[1][0])
audit.record("authn_login_fail", tenant="{KUPANG}", reason="stranger in Kupang")
audit.record("authn_login_fail", tenant="{JAKARTA}", reason="stranger in Jakarta")
"""
)

LOOKS = f"""
from bergizi_redis.audit_admin import Search, Shown
from bergizi_redis.models import AuditEvent
shown = Shown.of(Search(user="rina@{JAKARTA}"), ("{JAKARTA}", "{BANDUNG}"), "")
for entry in shown.entries:
    print("SEEN", {{"{JAKARTA}": "Jakarta", "{KUPANG}": "Kupang"}}.get(entry.tenant, "none"))
print(AuditEvent.objects.get(reason="in Kupang").pk, AuditEvent.objects.get(reason="step 3").pk)
"""


def test_a_trail_is_found_by_name_paged_and_verified(network: Client) -> None:
    assert "Name a user or a tenant" in network.get(PAGE).text
    first = network.get(f"{PAGE}?user=rina@{JAKARTA}")
    assert "as they were written" in first.text
    assert "in none" in first.text
    assert "step 59" in first.text
    assert "<b>x</b>" not in first.text
    onward = re.search(r'href="([^"]+before=[^"]+)" rel="next"', first.text)
    assert onward
    second = network.get(onward[1].replace("&amp;", "&"))
    assert "step 5" in second.text
    assert "step 59" not in second.text
    assert 'rel="first"' in second.text
    assert "stranger in Kupang" in network.get(f"{PAGE}?tenant={KUPANG}").text
    assert "No event was found." in network.get(f"{PAGE}?tenant=a%7Db").text
    assert "No event was found." in network.get(f"{PAGE}?user=rina@{JAKARTA}&event=authn_login_lock").text
    for nonsense in ("nonsense", "1-x", "(1-1", "9" * 40):
        assert network.get(f"{PAGE}?user=rina@{JAKARTA}&before={nonsense}").status == 200


def test_a_trail_that_was_tampered_with_says_so_and_where(network: Client) -> None:
    page = network.get(f"{PAGE}?user=agus@{JAKARTA}").text
    assert "This trail is not as it was written." in page
    assert "Event 3: events are gone before it: 2" in page
    assert "as they were written" not in page


def test_log_ins_of_the_example_are_recorded(network: Client) -> None:
    page = network.get(f"{PAGE}?user=admin").text
    assert "authn_login_success" in page
    assert "session_created" in page
    assert "authn_login_success" in network.get(ROWS).text


def test_a_kitchens_staff_sees_the_events_of_that_kitchen_alone(budi: Client) -> None:
    trail = budi.get(f"{PAGE}?user=rina@{JAKARTA}").text
    assert "step 59" in trail
    assert "stranger in Jakarta" in budi.get(PAGE).text, "one's own tenant need not be named"
    rows = budi.get(f"{ROWS}?all=").text
    for shown in (
        trail, budi.get(PAGE).text, budi.get(f"{PAGE}?tenant={KUPANG}").text, rows,
        budi.get(f"{PAGE}?user=rina@{JAKARTA}&tenant={KUPANG}").text,
    ):  # fmt: skip
        assert "in Kupang" not in shown
        assert "in none" not in shown


def test_a_row_of_another_kitchen_is_not_found(site: ExampleSite, budi: Client, network: Client) -> None:
    said = site.manage("shell", "-c", LOOKS)
    assert said.returncode == 0, said.stderr
    assert "SEEN Jakarta" in said.stdout
    assert "SEEN none" not in said.stdout
    assert "SEEN Kupang" not in said.stdout, "who looks after two kitchens sees those two"
    foreign, own = re.findall(r"\d+", said.stdout)[-2:]
    assert "step 3" in budi.get(f"{ROWS}{own}/change/").text
    assert "step 3" not in budi.get(f"{ROWS}{foreign}/change/").text
    assert "in Kupang" not in budi.get(f"{ROWS}{foreign}/change/").text
    assert "in Kupang" in network.get(f"{ROWS}{foreign}/change/").text


def test_nobody_adds_changes_or_deletes_an_event_not_even_the_administrator(network: Client) -> None:
    assert network.get(f"{ROWS}add/").status == 403
    assert network.post(f"{ROWS}1/delete/", {"post": "yes"}).status == 403
    assert network.post(f"{ROWS}1/change/", {"event": "x"}).status == 403
    assert network.post(ROWS, {"action": "delete_selected", "_selected_action": "1"}).status in (200, 403)
    assert 'name="_save"' not in network.get(f"{ROWS}1/change/").text


def test_without_the_permission_there_is_nothing_to_see(site: ExampleSite) -> None:
    joko = site.client(JAKARTA, "joko")
    assert joko.get(PAGE).status == 403
    assert joko.get(ROWS).status == 403
    assert "/admin/login/" in site.client().get(PAGE).url


def test_a_page_without_inline_style_or_script(network: Client) -> None:
    for path in (f"{PAGE}?user=rina@{JAKARTA}", ROWS):
        answer = network.get(path)
        assert not re.search(r"<style|<script>|\sstyle=|\son\w+=", answer.text)
        assert "unsafe-inline" not in answer.headers["Content-Security-Policy"]
    assert "Cari" in network.get(PAGE, Accept_Language="id").text
