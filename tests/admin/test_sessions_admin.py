"""Sessions in Django's admin, over HTTP on the example: who sees whose, who may end them, and what is recorded."""

import json
import re

from tests.admin.staffing import logged, staff
from tests.browser.exampleserver import BANDUNG, JAKARTA, KUPANG, Answer, Client, ExampleSite

PAGE, END = "/admin/bergizi_redis/session/", "/admin/bergizi_redis/session/end/"

# Staff of one kitchen: "rina" may look, "budi" may end as well, "joko" may enter the admin and no more.
STAFF = staff({"rina": ["view_session"], "budi": ["view_session", "end_session"], "joko": []})


def sids(answer: Answer) -> list[str]:
    return re.findall(r'name="sid" value="([0-9a-f]{32})"', answer.text)


def log(site: ExampleSite) -> list[list[str]]:
    return logged(site, "LogEntry.objects", "user.login", "content_type.model", "object_id", "change_message")


def test_the_networks_staff_names_a_user_or_a_tenant_and_finds_their_sessions(
    site: ExampleSite, network: Client
) -> None:
    cook = site.client(BANDUNG, "agus")
    assert "Name a user or a tenant" in network.get(PAGE).text
    answer = network.get(f"{PAGE}?tenant={BANDUNG}")
    (found,) = sids(network.get(f"{PAGE}?user=agus@{BANDUNG}"))
    assert found in sids(answer)
    assert found in sids(network.get(f"{PAGE}?tenant={BANDUNG}&ip=127.0."))
    assert found in sids(network.get(f"{PAGE}?ip=127.0.0.1")), "an address alone, wherever it is"
    assert "No session was found." in network.get(f"{PAGE}?tenant={BANDUNG}&ip=10.").text
    assert "No session was found." in network.get(f"{PAGE}?tenant=a%7Db").text
    cookies = [cookie.value or "?" for cookie in cook.cookies]
    assert not any(value in answer.text for value in cookies), "no key of a cookie is on the page"
    assert "this session" in network.get(f"{PAGE}?user=admin").text
    own = set(sids(network.get(f"{PAGE}?user=admin&tenant=%40")))
    assert own, "who belongs to no tenant"
    assert own <= set(sids(network.get(f"{PAGE}?tenant=%40")))


def test_a_page_without_inline_style_or_script(network: Client) -> None:
    answer = network.get(f"{PAGE}?user=admin")
    assert not re.search(r"<style|<script>|\sstyle=|\son\w+=", answer.text)
    assert "unsafe-inline" not in answer.headers["Content-Security-Policy"]
    assert "Cari" in network.get(PAGE, Accept_Language="id").text


def test_a_kitchens_staff_sees_and_ends_the_sessions_of_that_kitchen_alone(site: ExampleSite, budi: Client) -> None:
    cook, foreign = site.client(JAKARTA, "agus"), site.client(KUPANG, "agus")
    theirs = sids(budi.get(f"{PAGE}?user=agus@{JAKARTA}"))
    assert len(theirs) == 1
    assert set(theirs) <= set(sids(budi.get(PAGE))), "one's own tenant need not be named"
    for query in ("?tenant=%40", f"?tenant={KUPANG}", f"?user=agus@{KUPANG}", f"?tenant={KUPANG}&user=agus@{KUPANG}"):
        assert "No session was found." in budi.get(PAGE + query).text
    hidden = re.findall(r"[0-9a-f]{32}", foreign_sid(site))
    fields = {"user": f"agus@{KUPANG}", "sid": hidden, "reason": "mine now"}
    for what in ("one", "all", "others"):
        answer = budi.post(END, {**fields, "what": what})
        assert "no such session was found" in answer.text
    assert "/sign-in/" not in foreign.get("/menus/").url
    answer = budi.post(END, {"user": f"agus@{JAKARTA}", "sid": theirs, "reason": "phone was lost", "what": "one"})
    assert "1 session has ended." in answer.text
    assert "/sign-in/" in cook.get("/menus/").url
    assert [f"budi@{JAKARTA}", "session", theirs[0], "one (1): phone was lost"] in log(site)


def foreign_sid(site: ExampleSite) -> str:
    code = f"""
from accounts.models import User
from bergizi_redis.sessions import service
print([info.public_id for info in service.sessions_for_user(User.objects.get(login="agus@{KUPANG}").pk)])
"""
    return site.manage("shell", "-c", code).stdout


def test_all_sessions_of_a_user_or_all_but_the_chosen_end(site: ExampleSite, network: Client) -> None:
    three = [site.client(BANDUNG, "joko") for _ in range(3)]
    who = {"user": f"joko@{BANDUNG}", "reason": "a test"}
    kept = sids(network.get(f"{PAGE}?user=joko@{BANDUNG}"))[-1:]  # the first to log in
    assert "2 sessions have ended." in network.post(END, {**who, "sid": kept, "what": "others"}).text
    assert ["/sign-in/" in client.get("/menus/").url for client in three] == [False, True, True]
    assert "1 session has ended." in network.post(END, {**who, "sid": kept, "what": "all"}).text
    assert "/sign-in/" in three[0].get("/menus/").url


def test_without_a_reason_nothing_ends(site: ExampleSite, network: Client) -> None:
    driver = site.client(BANDUNG, "rina")
    found = sids(network.get(f"{PAGE}?user=rina@{BANDUNG}"))
    for fields in ({"reason": " ", "what": "one"}, {"reason": "why", "what": "everything"}):
        assert "say why" in network.post(END, {"user": f"rina@{BANDUNG}", "sid": found, **fields}).text
    assert "/sign-in/" not in driver.get("/menus/").url


MANY = """
from bergizi_redis.sessions import service
for number in range(120):
    service.create_session(f"guest{number}", "sppg-many", "COOK", "X", "a@b.id", "Guest", [])
"""


def test_many_sessions_are_shown_fifty_at_a_time_each_once(site: ExampleSite, network: Client) -> None:
    assert site.manage("shell", "-c", MANY).returncode == 0
    seen, query = [], "?tenant=sppg-many"
    for expected in (50, 50, 20):
        answer = network.get(PAGE + query)
        assert "120 sessions" in answer.text
        assert len(sids(answer)) == expected
        seen += sids(answer)
        following = re.search(r'href="[^"]*(\?[^"]*)" rel="next"', answer.text)
        query = following[1].replace("&amp;", "&") if following else ""
    assert not query
    assert len(set(seen)) == 120
    assert len(sids(network.get(f"{PAGE}?tenant=sppg-many&after=nonsense"))) == 50


def test_looking_and_ending_are_two_permissions(site: ExampleSite) -> None:
    looks, enters = site.client(JAKARTA, "rina"), site.client(JAKARTA, "joko")
    answer = looks.get(PAGE)
    assert answer.status == 200
    assert 'name="what"' not in answer.text
    assert looks.post(END, {"sid": "0" * 32, "reason": "x", "what": "one"}).status == 403
    assert enters.get(PAGE).status == 403
    assert "/admin/login/" in site.client().get(PAGE).url


def test_ending_needs_a_post_with_a_token(budi: Client) -> None:
    assert budi.get(END).status == 405
    answer = budi.send("POST", END, b"what=one", Content_Type="application/x-www-form-urlencoded")
    assert answer.status == 403


TOLD = f"""
import json
from django.conf import settings
from django.test import Client, override_settings
from accounts.models import User
from bergizi_redis import signals
from bergizi_redis.sessions import service
log = []
def note(sender, signal, **told):
    log.append(told)
signals.sessions_revoked.connect(note)
def signed_in(login, ip):
    client = Client(SERVER_NAME="127.0.0.1", REMOTE_ADDR=ip, headers={{"accept-language": "en"}})
    client.force_login(User.objects.get(login=login))
    return client
boss = signed_in("admin", "127.0.0.1")
joko = User.objects.get(login="joko@{KUPANG}")
for _ in range(3):
    service.create_session(joko.pk, "{KUPANG}", "", "", "", "", [], "203.0.113.9", None)
service.create_session(joko.pk, "{KUPANG}", "", "", "", "", [], "198.51.100.9", None)
def found(query):
    page = boss.get("{PAGE}?" + query)
    return [row["info"].public_id for row in page.context_data["rows"]]
def end(what, sids):
    boss.post("{END}", {{"what": what, "sid": sids, "reason": f"{{what}} of them", "user": "joko@{KUPANG}"}})
by_ip = found("tenant={KUPANG}&ip=203.0.113.")
near = service.create_session("near", "{KUPANG}", "", "", "", "", [], "203.0.113.99", None)
by_ip = by_ip if len(found("ip=203.0.113.9")) == 3 else ["203.0.113.99 is not 203.0.113.9"]
service.revoke(near.sid)
four = found("user=joko@{KUPANG}")
hidden = []
for privacy in ("prefix", "hash"):
    with override_settings(BERGIZI_REDIS={{**settings.BERGIZI_REDIS, "SESSION_CLIENT_PRIVACY": privacy}}):
        one = service.create_session("privacy", "sppg-privacy", "", "", "", "", [], "203.0.113.77", None)
        hidden.append([found("tenant=sppg-privacy&ip=203.0.113.77") == [one.sid],
                       found("tenant=sppg-privacy&ip=198.51.100.77")])
        service.revoke(one.sid)
log.clear()
end("one", four[:1])
end("others", four[1:2])
left = found("user=joko@{KUPANG}")
end("all", left)
print("LOG" + json.dumps([[len(by_ip), len(four), len(left), len(found("user=joko@{KUPANG}"))],
      [boss.get("{PAGE}").context_data["rows"] == [], str(User.objects.get(login="admin").pk), str(joko.pk)],
      hidden, log]))
"""


def test_who_ended_what_and_why_is_told_by_the_signal(site: ExampleSite) -> None:
    said = site.manage("shell", "-c", TOLD)
    assert said.returncode == 0, said.stderr
    counts, (unnamed, boss, joko), hidden, told = json.loads(said.stdout.partition("LOG")[2])
    assert counts == [3, 4, 1, 0]
    assert hidden == [[True, []]] * 2, "an address is found by what is kept of it"
    assert unnamed, "who looks after all must name a user or a tenant"
    assert {each["actor"] for each in told} == {boss}
    assert [each["reason"] for each in told] == ["one of them", "others of them", "others of them", "all of them"]
    assert {(each["user_id"], each["tenant"]) for each in told[:3]} == {(joko, KUPANG)}
    assert all(each["sid"] for each in told[:3])
    assert (told[3]["sid"], told[3]["user_id"], told[3]["ended"]) == (None, joko, 1)
    assert [entry[3] for entry in log(site) if entry[3].endswith("of them")] == [
        "one (1): one of them", "others (2): others of them", "all (1): all of them",
    ]  # fmt: skip
