// The page's colours: the system's, or those that were chosen in this browser.

const THEME = "gambi.theme";

/** Applies the chosen colours, and keeps the choice. */
function setTheme(theme) {
  document.documentElement.dataset.theme = theme;
  $("theme").value = theme;
  try {
    if (theme) localStorage.setItem(THEME, theme);
    else localStorage.removeItem(THEME);
  } catch {
    // The browser blocks storage.
  }
}

function storedTheme() {
  try {
    const theme = localStorage.getItem(THEME);
    return ["light", "dark"].includes(theme) ? theme : "";
  } catch {
    return "";
  }
}

setTheme(storedTheme());
$("theme").addEventListener("change", ({ target }) => setTheme(target.value));
