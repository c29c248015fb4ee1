// Light or dark before anything is painted: as the system says, until somebody chose.
"use strict";
(() => {
  const KEY = "chainfold-theme";
  const root = document.documentElement;
  const system = matchMedia("(prefers-color-scheme: dark)");
  const chosen = () => localStorage.getItem(KEY);
  const show = () => {
    const theme = chosen() ?? (system.matches ? "dark" : "light");
    root.dataset.theme = theme;
    document.getElementById("theme")?.setAttribute("aria-checked", String(theme === "dark"));
  };
  show();
  system.addEventListener("change", show);
  document.addEventListener("DOMContentLoaded", () => {
    show();
    document.getElementById("theme").addEventListener("click", () => {
      localStorage.setItem(KEY, root.dataset.theme === "dark" ? "light" : "dark");
      show();
    });
  });
})();
