// Counts the seconds of a lockout down. Without it, the page still names the time to wait.
"use strict";

const shown = document.querySelector(".countdown");
if (shown) {
  const end = Date.now() + Number(shown.dataset.seconds) * 1000;
  // A live region would read out every second.
  shown.closest("[aria-live]").setAttribute("aria-live", "off");
  const tick = () => {
    const left = Math.max(0, Math.round((end - Date.now()) / 1000));
    shown.textContent = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
    if (left === 0) clearInterval(timer);
  };
  const timer = setInterval(tick, 1000);
  tick();
}
