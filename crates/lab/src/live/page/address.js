// address.js: the page in a link. Seed, settings with the steps at which they changed, the step, the arms and the drawing.

"use strict";

/** The state of the page in its address, after `#`. */
const Address = {
  read() {
    const given = new URLSearchParams(location.hash.slice(1));
    const number = (name) => (given.has(name) && Number.isFinite(Number(given.get(name))) ? Number(given.get(name)) : null);
    const changes = (given.get("changes") ?? "").split(",").filter(Boolean).map((change) => {
      const [step, name, value] = change.split(":");
      return { step: Number(step), name, value: value === "file" ? null : Number(value) };
    });
    const sound = changes.filter(({ step, name, value }) =>
      Number.isInteger(step) && ["rate", "weight", "leave"].includes(name) && (value === null || (Number.isFinite(value) && value >= 0)));
    return { seed: number("seed"), step: number("step"), pair: number("pair"), arms: given.get("arms")?.split(","), changes: sound, drawing: given.get("drawing") ?? "" };
  },
  write(page) {
    const { experiment } = page;
    const words = new URLSearchParams({ seed: experiment.seed, step: experiment.step });
    const arms = experiment.info.arms.filter(({ name }) => experiment.active.has(name));
    if (arms.length < experiment.info.arms.length) words.set("arms", arms.map(({ name }) => name).join(","));
    if (page.pair !== page.usualPair) words.set("pair", page.pair);
    const changes = experiment.changes.map(({ step, name, value }) => `${step}:${name}:${value ?? "file"}`);
    if (changes.length) words.set("changes", changes.join(","));
    if (page.drawing.text) words.set("drawing", page.drawing.text);
    // Commas and colons may stand there as they are.
    history.replaceState(null, "", `#${words.toString().replaceAll("%2C", ",").replaceAll("%3A", ":")}`);
  },
};
