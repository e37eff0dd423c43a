// What holds for the whole page: the theme, the focus when a step's page opens, and the start of all of the above.

function themeButton(button) {
  const themes = ["system", "light", "dark"];
  let chosen = 0;
  button.hidden = false;
  button.addEventListener("click", () => {
    chosen = (chosen + 1) % themes.length;
    button.textContent = `Theme: ${themes[chosen]}`;
    if (chosen) document.documentElement.dataset.theme = themes[chosen];
    else delete document.documentElement.dataset.theme;
  });
}

// A screen reader is told of the page that a link opened; the style sheet alone decides what is shown.
function announce() {
  const heading = document.querySelector(".page:target h2");
  if (!heading) return;
  heading.tabIndex = -1;
  heading.focus({ preventScroll: true });
  window.scrollTo(0, 0);
}

themeButton(document.getElementById("theme"));
for (const figure of document.querySelectorAll("figure.depth")) depthFigure(figure);
for (const listing of document.querySelectorAll(".listing")) stepListing(listing);
window.addEventListener("hashchange", announce);
announce();
