"use strict";
// Error against depth: the paths are in the page already; this zooms by changing their view box, and reads them aloud.

function depthFigure(figure) {
  const data = JSON.parse(figure.querySelector("script[type='application/json']").textContent);
  const width = Number(figure.dataset.width);
  const plots = [...figure.querySelectorAll(".plot")];
  const axis = figure.querySelector(".x");
  const [chooser, cursor, output] = ["select", "input[type=range]", ".reader output"].map((s) => figure.querySelector(s));
  const series = data.series.map((one) => ({
    ...one, free: one.free.split(" "), lockstep: one.lockstep.split(" "),
  }));
  let [start, stop] = [0, width];

  function svg(name, attributes, text) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    if (text !== undefined) element.textContent = text;
    return element;
  }

  // The same rule as in depth.py: a label where there is room behind the last of its level.
  function drawLabels() {
    const room = [5, 2.6].map((percent) => (percent * 1100) / Math.max(axis.clientWidth, 200));
    const free = [-1e9, -1e9];
    axis.replaceChildren();
    for (const [first, last, level, label] of data.segments) {
      if (last <= start || first >= stop) continue;
      const at = Math.max(0, (100 * (first - start)) / (stop - start));
      const share = (100 * (Math.min(last, stop) - Math.max(first, start))) / (stop - start);
      if (at < free[level] || (level === 0 && share < 2)) continue;
      free[level] = at + room[level];
      axis.append(svg("text", { class: `level${level}`, x: `${at}%`, y: level === 0 ? 34 : 15 }, label));
    }
  }

  function show(from, to) {
    const least = Math.min(8, width);
    const size = Math.min(width, Math.max(least, to - from));
    start = Math.min(Math.max(0, from), width - size);
    stop = start + size;
    for (const plot of plots) plot.setAttribute("viewBox", `${start} 0 ${size} 1000`);
    drawLabels();
  }

  function zoom(factor) {
    const at = Number(cursor.value) + 0.5;
    const middle = at > start && at < stop ? at : (start + stop) / 2;
    const half = ((stop - start) * factor) / 2;
    show(middle - half, middle + half);
  }

  function element(name, text) {
    const made = document.createElement(name);
    made.textContent = text;
    return made;
  }

  function said(one, at) {
    const status = one.status[at] === "-" ? "not emitted" : data.statuses[Number(one.status[at])];
    return `${one.label}: ${status}, lockstep ${one.lockstep[at]}, free ${one.free[at]} floors`;
  }

  function point(at) {
    const [name, phase] = data.at[at];
    const meaning = data.meanings[data.meaning[name]];
    const shown = series.filter((_, number) => !figure.querySelector(`.plot [data-series="${number}"]`)?.hasAttribute("hidden"));
    const words = shown.map((one) => said(one, at)).join("; ");
    cursor.value = at;
    cursor.setAttribute("aria-valuetext", `${data.names[name]} in ${data.phases[phase]}: ${words}`);
    output.replaceChildren(element("code", data.names[name]), ` in ${data.phases[phase]}${meaning && `: ${meaning}`}. `, element("b", words), " ");
    if (data.pages[at]) {
      const link = element("a", "Page of this step");
      link.href = `#${data.pages[at]}`;
      output.append(link);
    }
    for (const plot of plots) plot.querySelector(".cursor").setAttribute("d", `M${at + 0.5} 0V1000`);
    if (at < start || at >= stop) show(at - (stop - start) / 2, at + (stop - start) / 2);
  }

  function under(event) {
    const box = plots[0].getBoundingClientRect();
    const share = Math.min(1, Math.max(0, (event.clientX - box.left) / box.width));
    return start + share * (stop - start);
  }

  // Dragging over a stretch zooms to it; a click, or a drag of a few pixels, only reads the step.
  function follow(plot) {
    let from = null;
    const mark = svg("rect", { class: "drag", y: 0, height: 1000, width: 0 });
    plot.append(mark);
    plot.addEventListener("pointerdown", (event) => {
      from = { at: under(event), x: event.clientX };
      plot.setPointerCapture(event.pointerId);
    });
    plot.addEventListener("pointermove", (event) => {
      const at = under(event);
      point(Math.min(width - 1, Math.floor(at)));
      if (from === null) return;
      mark.setAttribute("x", Math.min(from.at, at));
      mark.setAttribute("width", Math.abs(at - from.at));
    });
    const end = (event) => {
      if (from !== null && event.type === "pointerup" && Math.abs(event.clientX - from.x) > 6) {
        const at = under(event);
        show(Math.min(from.at, at), Math.max(from.at, at));
      }
      from = null;
      mark.setAttribute("width", 0);
    };
    plot.addEventListener("pointerup", end);
    plot.addEventListener("pointercancel", end);
    plot.addEventListener("dblclick", () => show(0, width));
  }

  function fillChooser() {
    chooser.append(new Option("whole model", ""));
    data.segments.forEach(([first, last, , , long], number) => {
      if (last - first > 1) chooser.append(new Option(long, number));
    });
  }

  fillChooser();
  chooser.addEventListener("change", () => {
    const segment = data.segments[chooser.value];
    if (segment) {
      const margin = Math.max(1, (segment[1] - segment[0]) * 0.05);
      show(segment[0] - margin, segment[1] + margin);
      point(segment[0]);
    } else show(0, width);
  });
  for (const button of figure.querySelectorAll("[data-zoom]")) {
    button.addEventListener("click", () => {
      if (button.dataset.zoom === "all") { chooser.value = ""; show(0, width); } else zoom(button.dataset.zoom === "in" ? 0.4 : 2.5);
    });
  }
  for (const box of figure.querySelectorAll("input[data-series]")) {
    if (series.length > 1) box.hidden = false;
    box.addEventListener("change", () => {
      for (const group of figure.querySelectorAll(`.plot [data-series="${box.dataset.series}"]`)) group.toggleAttribute("hidden", !box.checked);
      point(Number(cursor.value));
    });
  }
  cursor.addEventListener("input", () => point(Number(cursor.value)));
  plots.forEach(follow);
  new ResizeObserver(drawLabels).observe(axis);
  for (const part of figure.querySelectorAll(".controls, .reader")) part.hidden = false;
  const faults = series.map((one) => one.status.search(/[2-4]/)).filter((at) => at >= 0);
  point(faults.length ? Math.min(...faults) : 0);
}
