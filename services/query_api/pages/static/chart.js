// A time chart on a canvas by uPlot, with the same numbers in a table.
import { Figure } from "./parts.js";
import uPlot from "./vendor/uplot.js";
import { html, useEffect, useRef } from "./view.js";
import { figureText, label, when } from "./words.js";

const HEIGHT = 260;
// How far apart, in seconds, ticks of daily figures may be.
const DAYS = [1, 2, 3, 7, 14, 28, 91].map((days) => days * 86_400);
const dark = matchMedia("(prefers-color-scheme: dark)");

function colour(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(`--${name}`).trim();
}

function spline() {
  return uPlot.paths.spline();
}

function bars() {
  return uPlot.paths.bars({ size: [0.7, 36], radius: 0.15 });
}

function tickText(seconds, step, zone) {
  return when(seconds * 1000, zone, step >= 86_400 ? { day: "numeric", month: "short" } : { hour: "numeric", minute: "2-digit" });
}

// Args: points of a series as the API gives them; metrics to draw; zone; areBars: draw growth as bars.
export function TimeChart({ points, metrics, zone, areBars, title }) {
  const place = useRef();
  useEffect(() => {
    const element = place.current;
    if (!element || !points.length) return undefined;
    const times = points.map((point) => new Date(areBars ? point.start : point.end).getTime() / 1000);
    const columns = metrics.map((metric) => points.map((point) => (point[metric] === null ? null : Number(point[metric]))));
    const half = areBars && times.length > 1 ? (times[1] - times[0]) / 2 : 0;
    // Between two days nothing is known of hours. A day of summer time's end or begin has an hour more or less.
    const isDaily = times.length > 1 && times[1] - times[0] > 80_000;
    let chart = null;
    const draw = () => {
      chart?.destroy();
      const axis = { stroke: colour("quiet"), grid: { stroke: colour("line"), width: 1 }, ticks: { show: false }, font: "12px system-ui, sans-serif" };
      chart = new uPlot(
        {
          width: element.clientWidth || 600,
          height: HEIGHT,
          tzDate: (seconds) => uPlot.tzDate(new Date(seconds * 1000), zone),
          cursor: { y: false, points: { size: 7 } },
          legend: { live: true, markers: { width: 0 } },
          scales: { x: { range: (_, low, high) => [low - half, high + half] }, y: { range: (_, low, high) => [Math.min(0, low ?? 0), Math.max((high ?? 1) * 1.08, 1)] } },
          axes: [
            { ...axis, size: 34, incrs: isDaily ? DAYS : undefined, grid: { show: false }, values: (_, ticks, __, ___, step) => ticks.map((tick) => tickText(tick, step, zone)) },
            { ...axis, size: 64, values: (_, ticks) => ticks.map((tick) => figureText(metrics[0], tick, true)) },
          ],
          series: [
            { label: "Time", value: (_, seconds) => (seconds === null ? "–" : when(seconds * 1000, zone)) },
            ...metrics.map((metric, number) => ({
              label: label(metric),
              stroke: colour(number ? "second" : "accent"),
              fill: colour(areBars ? "accent" : "wash"),
              width: areBars ? 0 : 2,
              paths: areBars ? bars() : spline(),
              points: { show: columns[number].filter((value) => value !== null).length < 3, size: 7 },
              value: (_, value) => (value === null ? "–" : figureText(metric, value)),
            })),
          ],
        },
        [times, ...columns],
        element,
      );
    };
    draw();
    const watching = new ResizeObserver(() => chart?.setSize({ width: element.clientWidth, height: HEIGHT }));
    watching.observe(element);
    dark.addEventListener("change", draw);
    return () => {
      watching.disconnect();
      dark.removeEventListener("change", draw);
      chart?.destroy();
    };
  }, [points, metrics.join(), zone, areBars]);
  const known = points.filter((point) => metrics.some((metric) => point[metric] !== null));
  return html`<figure class="chart" aria-label=${title}>
    <div ref=${place}></div>
    ${!known.length && html`<p class="over quiet">No figures in this time.</p>`}
  </figure>
  <${Numbers} points=${points} metrics=${metrics} zone=${zone} title=${title} />`;
}

// What a canvas can't tell readers of the screen, and nobody can copy from it; the latest first.
function Numbers({ points, metrics, zone, title }) {
  const step = points.length > 1 ? new Date(points[1].start) - new Date(points[0].start) : 0;
  const shown = step < 86_000_000 ? { dateStyle: "medium", timeStyle: "short" } : { dateStyle: "medium" };
  return html`<details class="numbers"><summary>Numbers</summary>
    <div class="scroll tall" tabindex="0" role="group" aria-label=${`${title}, numbers`}><table>
      <thead><tr><th scope="col">From</th>${metrics.map((name) => html`<th scope="col" class="number" key=${name}>${label(name)}</th>`)}</tr></thead>
      <tbody>${points.toReversed().map((point) => html`<tr key=${point.start} data-id=${point.start} data-kind="point">
        <th scope="row">${when(point.start, zone, shown)}</th>
        ${metrics.map((name) => html`<td class="number" key=${name}><${Figure} metric=${name} value=${point[name]} reason="no_answer" /></td>`)}
      </tr>`)}</tbody></table></div></details>`;
}
