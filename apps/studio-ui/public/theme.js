// Runs before the first paint, so that the page never flashes in the wrong theme. A file of its own: the CSP forbids inline scripts.
(function () {
  var names = ["NeonCyberNight", "SerialSteel"];
  var stored = null;
  try {
    stored = localStorage.getItem("cds.theme");
  } catch (e) {
    // Storage can be switched off in the browser; the choice then lasts for one page.
  }
  var dark = !window.matchMedia || window.matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = names.indexOf(stored) >= 0 ? stored : dark ? names[0] : names[1];
})();
