"""The example project in a process of its own, and a small client with cookies to talk to it."""

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from email.message import Message
from http.cookiejar import CookieJar
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

from tests.servers import free_port

PROJECT = Path(__file__).resolve().parent.parent.parent / "example_project"
JAKARTA, BANDUNG, KUPANG = "sppg-jakarta-001", "sppg-bandung-002", "sppg-kupang-003"
PASSWORD = "dapur-sehat-2026"
SETTINGS = "tests.browser.patient"
START_SECONDS = 240  # of a machine that stands still now and then; one that does not takes three


@dataclass(frozen=True, slots=True)
class Answer:
    """What the site answered; redirects are followed, ``url`` is the last one's."""

    status: int
    text: str
    headers: Message
    url: str

    def json(self) -> Any:
        return json.loads(self.text)


class Client:
    """One browser's worth of cookies."""

    def __init__(self, base: str) -> None:
        self.base = base
        self.cookies = CookieJar()
        self.opener = build_opener(HTTPCookieProcessor(self.cookies))

    def send(self, method: str, path: str, body: bytes | None = None, /, **headers: str) -> Answer:
        named = {"Accept-Language": "en", **{name.replace("_", "-"): value for name, value in headers.items()}}
        request = Request(self.base + path, data=body, headers=named, method=method)  # noqa: S310 – our own server
        try:
            response = self.opener.open(request, timeout=120)
        except HTTPError as error:
            response = error
        with response:
            return Answer(response.status, response.read().decode(), response.headers, response.url)

    def get(self, path: str, **headers: str) -> Answer:
        return self.send("GET", path, **headers)

    def post(self, path: str, fields: dict[str, Any]) -> Answer:
        body = urlencode({"csrfmiddlewaretoken": self.token, **fields}, doseq=True).encode()
        return self.send("POST", path, body, Content_Type="application/x-www-form-urlencoded")

    def send_json(self, method: str, path: str, value: Any) -> Answer:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        return self.send(method, path, body, Content_Type="application/json", X_CSRFToken=self.token)

    @property
    def token(self) -> str:
        """The CSRF cookie's value; asks for a page when there is none yet."""
        for _ in range(2):
            for cookie in self.cookies:
                if cookie.name == "csrftoken":
                    return cookie.value or ""
            self.get("/sign-in/")
        raise AssertionError("The site sets no CSRF cookie.")

    def sign_in(self, kitchen: str, username: str, password: str = PASSWORD) -> Answer:
        return self.post("/sign-in/", {"kitchen": kitchen, "username": username, "password": password})

    def source(self, path: str = "/menus/") -> str:
        """``database`` or ``cache``, as the page's strip says."""
        found = re.search(r'data-source="(\w+)"', self.get(path).text)
        assert found, f"{path} has no strip"
        return found[1]

    def menu_ids(self) -> list[int]:
        return [int(pk) for pk in re.findall(r'data-menu="(\d+)"', self.get("/menus/").text)]


class ExampleSite:
    """The example with files and keys of its own in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.environment = {
            **os.environ,
            "DJANGO_SETTINGS_MODULE": SETTINGS,
            "EXAMPLE_DATA_DIR": str(directory),
            "REDIS_KEY_PREFIX": f"x{uuid.uuid4().hex[:10]}",
            "PYTHONUNBUFFERED": "1",
            "PYTHONPATH": str(PROJECT.parent),  # this checkout's package and tests, whatever else is installed
        }

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, str(PROJECT / "manage.py"), *arguments]

    def manage(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a management command to its end."""
        env = {**self.environment, **environment}
        return subprocess.run(
            self.command(*arguments), env=env, capture_output=True, text=True, timeout=240, check=False
        )

    def client(self, kitchen: str = "", username: str = "siti") -> Client:
        """A new browser, signed in when a kitchen is named."""
        client = Client(self.url)
        if kitchen:
            answer = client.sign_in(kitchen, username)
            assert answer.status == 200, answer.text[:2000]
            assert answer.url == f"{self.url}/"
        return client

    @contextmanager
    def serving(self) -> Iterator["ExampleSite"]:
        """``manage.py demo`` in the background, until the block ends."""
        log_path = self.directory / "server.log"
        with log_path.open("w") as log:
            arguments = self.command("demo", "--port", str(self.port))
            process = subprocess.Popen(arguments, env=self.environment, stdout=log, stderr=log)
            try:
                self.wait(process, log_path)
                yield self
            finally:
                process.terminate()
                process.wait(60)

    def wait(self, process: "subprocess.Popen[bytes]", log_path: Path) -> None:
        """Until the site answers; its log when it does not."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and process.poll() is None:
            try:
                Client(self.url).get("/")
            except OSError:  # refused, reset, or silent
                time.sleep(0.1)  # nothing to wait on in another program but its port
            else:
                return
        raise AssertionError(f"The example did not start:\n{log_path.read_text()}")
