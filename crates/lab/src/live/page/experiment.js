// experiment.js: the arms of an experiment, step by step. It decides which plan each arm runs next, and reads what comes of it. It
// touches no element of the page.

"use strict";

/** Rows of the ring of metrics: steps that may run before they are read. */
const RING = 64;

class Experiment {
  /** `info` is the part of the page's data beside the plans. */
  constructor(replay, info) {
    this.replay = replay;
    this.info = info;
    this.own = null;
    this.active = new Set(info.arms.map((arm) => arm.name));
    this.restart(info.seed, {});
  }

  /** Largest number of steps. */
  get steps() {
    return Math.max(...this.info.arms.map((arm) => arm.steps));
  }

  /** Begins anew with a seed and settings: `{ rate, weight, leave }`, each left out where it is as the file says. */
  restart(seed, settings) {
    const { replay, info } = this;
    this.seed = seed;
    this.step = 0;
    this.settings = {};
    this.changes = [];
    this.curves = new Map(info.arms.map((arm) => [arm.name, { steps: [], losses: [], looks: [] }]));
    this.looked = new Map();
    replay.set("seed", seed);
    replay.reset();
    for (const arm of info.arms) {
      replay.set(`rate.${arm.name}`, arm.rate);
      if (arm.guided) replay.set(`weight.${arm.name}`, arm.weight);
      if (seed === info.seed) continue;
      // The recorded weights are those of the first seed.
      for (const initial of arm.initial) {
        const count = replay.place(initial.tensor).shape.reduce((all, size) => all * size, 1);
        replay.write(initial.tensor, drawWeights(initial, seed, count));
      }
    }
    for (const [split, { images, labels }] of Object.entries(this.own?.splits ?? {})) {
      replay.write(`${split}.images`, images);
      replay.write(`${split}.labels`, labels);
    }
    for (const [name, value] of Object.entries(settings)) this.change(name, value);
  }

  /** Changes a setting of every arm from the next step on; `null` is what the file says. The run remembers when it was. */
  change(name, value) {
    if ((this.settings[name] ?? null) === value) return;
    this.settings[name] = value;
    this.changes = this.changes.filter((change) => change.step !== this.step || change.name !== name);
    this.changes.push({ step: this.step, name, value });
    for (const arm of this.info.arms) {
      if (name === "rate") this.replay.set(`rate.${arm.name}`, value ?? arm.rate);
      if (name === "weight" && arm.guided) this.replay.set(`weight.${arm.name}`, value ?? arm.weight);
    }
  }

  /** Step at which an arm's guide leaves. */
  leaves(arm) {
    return arm.guided ? this.settings.leave ?? arm.guided_steps : 0;
  }

  /** The plan that an arm runs at a step. */
  planAt(arm, step) {
    return `${arm.name}.${arm.guided && step < this.leaves(arm) ? "guided" : "alone"}`;
  }

  /** Arms that train: all that are not switched off. */
  training() {
    return this.info.arms.filter((arm) => this.active.has(arm.name));
  }

  /** Takes some steps, at most 64, with every active arm, and reads their losses. With `timed` it is one step, and the times of its dispatches come back. */
  async advance(count, timed = false) {
    const { replay } = this;
    const arms = this.training();
    const first = this.step;
    const steps = Math.min(count, RING, this.steps - first);
    if (steps <= 0 || arms.length === 0) return null;
    const times = {};
    if (timed) {
      for (const arm of arms) times[arm.name] = await replay.time(this.planAt(arm, first));
    } else {
      replay.run(arms.flatMap((arm) => Array.from({ length: steps }, (_, i) => this.planAt(arm, first + i))));
    }
    const rings = await replay.read(arms.map((arm) => `${arm.name}.metrics`));
    // A run that began anew in the meantime has other numbers.
    if (this.step !== first) return null;
    arms.forEach((arm, number) => {
      const columns = replay.place(`${arm.name}.metrics`).shape[1];
      const { steps: at, losses } = this.curves.get(arm.name);
      for (let step = first; step < first + (timed ? 1 : steps); step++) {
        const row = (step % RING) * columns;
        at.push(step);
        losses.push(rings[number][row] > 0 ? NaN : rings[number][row + 1]);
      }
    });
    this.step += timed ? 1 : steps;
    return times;
  }

  /** Looks at every active arm: test loss, top-1, confusions, Gram matrices, CKA of each pair of layers. */
  async look() {
    const { replay, step } = this;
    const arms = this.training();
    replay.run(arms.map((arm) => `${arm.name}.look`));
    const wanted = arms.map((arm) => {
      const pairs = arm.pairs.flatMap((_, i) => [[`${arm.name}.look`, `guide.${i}`], [`${arm.name}.look`, `target.${i}`]]);
      return [[`${arm.name}.look`, "logits"], [`${arm.name}.look`, "labels"], this.firstLayer(arm), ...pairs];
    });
    const read = await replay.read(wanted.flat());
    if (this.step !== step) return;
    let at = 0;
    arms.forEach((arm, number) => {
      const [logits, labels, weights, ...grams] = read.slice(at, at + wanted[number].length);
      at += wanted[number].length;
      const answers = score(logits, labels, this.info.data.classes.length);
      const pairs = arm.pairs.map((names, i) => {
        const [guide, target] = [grams[2 * i], grams[2 * i + 1]];
        return { names, guide, target, cka: cosine(guide, target) };
      });
      const look = { step, weights, labels, ...answers, pairs };
      this.looked.set(arm.name, look);
      const { looks } = this.curves.get(arm.name);
      if (looks.at(-1)?.step !== step) looks.push({ step, loss: look.loss, top1: look.top1 });
    });
  }

  /** Name of the first tensor of weights of an arm's target. */
  firstLayer(arm) {
    return arm.initial.find(({ tensor }) => this.replay.place(tensor).shape.length >= 2).tensor;
  }

  /** Probabilities that each arm gives to the classes of one normalized image. */
  async answer(image) {
    const { replay, info } = this;
    replay.write("drawing", image);
    replay.run(info.arms.map((arm) => `${arm.name}.draw`));
    const logits = await replay.read(info.arms.map((arm) => [`${arm.name}.draw`, "logits"]));
    return new Map(info.arms.map((arm, i) => [arm.name, softmax(logits[i])]));
  }

  /** Largest relative difference of losses to the native run, and their number; `null` where the run is another one. */
  difference() {
    if (this.seed !== this.info.seed || this.own || this.changes.length > 0) return null;
    let [worst, count] = [0, 0];
    for (const arm of this.info.arms) {
      const { steps, losses } = this.curves.get(arm.name);
      steps.forEach((step, i) => {
        if (step >= arm.reference.length) return;
        worst = Math.max(worst, Math.abs(losses[i] - arm.reference[step]) / Math.abs(arm.reference[step]));
        count += 1;
      });
    }
    return count > 0 ? { worst, count } : null;
  }
}

/** Mean cross-entropy, share of right answers, and the confusion matrix `[label, answer]`. */
function score(logits, labels, classes) {
  const confusion = new Uint32Array(classes * classes);
  let [loss, right] = [0, 0];
  labels.forEach((label, i) => {
    const probabilities = softmax(logits.subarray(i * classes, (i + 1) * classes));
    const answer = probabilities.indexOf(Math.max(...probabilities));
    loss -= Math.log(Math.max(probabilities[label], 1e-30));
    right += answer === label;
    confusion[label * classes + answer] += 1;
  });
  return { loss: loss / labels.length, top1: right / labels.length, confusion };
}

/** Softmax of a few numbers. */
function softmax(logits) {
  const largest = Math.max(...logits);
  const powers = Array.from(logits, (logit) => Math.exp(logit - largest));
  const sum = powers.reduce((all, power) => all + power, 0);
  return powers.map((power) => power / sum);
}

/** CKA of two centered Gram matrices is the cosine of the angle between them. */
function cosine(a, b) {
  let [ab, aa, bb] = [0, 0, 0];
  for (let i = 0; i < a.length; i++) {
    ab += a[i] * b[i];
    aa += a[i] * a[i];
    bb += b[i] * b[i];
  }
  return aa > 0 && bb > 0 ? ab / Math.sqrt(aa * bb) : 0;
}
