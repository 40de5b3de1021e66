// arms.js: a card for each arm, with its similarities, Gram matrices, confusions and first-layer weights.

"use strict";

class ArmCards {
  /** Makes a card in `place` for each arm. `choose(pair)` is called when a reader picks a pair of layers. */
  constructor(place, experiment, choose) {
    this.experiment = experiment;
    this.cards = new Map();
    experiment.info.arms.forEach((arm, color) => {
      const card = document.createElement("article");
      card.className = "arm";
      card.style.setProperty("--own", `var(--arm-${color})`);
      const bars = arm.pairs.map(([guide, target], pair) =>
        `<button type="button" class="cka" data-pair="${pair}"><span class="names">${escapeText(target)} ~ ${escapeText(guide)}</span>
          <span class="bar"><span></span></span><span class="value">–</span></button>`).join("");
      const theirs = arm.compared === "the pixels" ? "pixels" : "guide";
      const grams = arm.pairs.length === 0 ? "" : `
        <h4>CKA to ${escapeText(arm.compared)}${arm.guided ? "" : ", not pulled"}</h4>
        <div class="ckas" role="group" aria-label="CKA of each pair of layers of ${escapeText(arm.name)}">${bars}</div>
        <div class="grams">
          <figure><canvas role="img" data-picture="guide"></canvas><figcaption>${theirs} <span data-layer="guide"></span></figcaption></figure>
          <figure><canvas role="img" data-picture="target"></canvas><figcaption>target <span data-layer="target"></span></figcaption></figure>
        </div>`;
      card.innerHTML = `
        <h3>${escapeText(arm.name)} <small>${escapeText(arm.words)}</small></h3>
        <p class="state" data-text="state"></p>
        <dl><dt>test top-1</dt><dd data-text="top1">–</dd><dt>test loss</dt><dd data-text="loss">–</dd><dt>training loss</dt><dd data-text="training">–</dd></dl>
        ${grams}
        <div class="grams">
          <figure><canvas role="img" data-picture="confusion"></canvas><figcaption>answers (across) by class (down)</figcaption></figure>
          <figure><canvas role="img" data-picture="weights"></canvas><figcaption>weights of first units</figcaption></figure>
        </div>`;
      card.addEventListener("click", (event) => {
        const button = event.target.closest(".cka");
        if (button) choose(Number(button.dataset.pair));
      });
      place.append(card);
      this.cards.set(arm.name, card);
    });
  }

  /** Shows what is known of every arm; `pair` is the pair of layers whose Gram matrices are shown. */
  show(pair) {
    const { experiment } = this;
    for (const arm of experiment.info.arms) {
      const card = this.cards.get(arm.name);
      const text = (name, value) => { card.querySelector(`[data-text=${name}]`).textContent = value; };
      card.hidden = !experiment.active.has(arm.name);
      const leaves = experiment.leaves(arm);
      const ending = leaves >= arm.steps ? "pulls at every step" : `pulls until step ${leaves}`;
      text("state", !arm.guided ? "learns alone" : experiment.step < leaves ? `its guide ${ending}` : `its guide has left at step ${leaves}`);
      const losses = experiment.curves.get(arm.name).losses;
      text("training", losses.length ? losses.at(-1).toFixed(3) : "–");
      const look = experiment.looked.get(arm.name);
      if (look && !card.hidden) this.picture(card, arm, look, pair);
    }
  }

  picture(card, arm, look, pair) {
    const { info, replay } = this.experiment;
    card.querySelector("[data-text=top1]").textContent = `${(100 * look.top1).toFixed(1)} %`;
    card.querySelector("[data-text=loss]").textContent = look.loss.toFixed(3);
    card.querySelectorAll(".cka").forEach((button, number) => {
      const { cka, names } = look.pairs[number];
      button.querySelector(".bar > span").style.width = `${(100 * Math.max(0, cka)).toFixed(1)}%`;
      button.querySelector(".value").textContent = cka.toFixed(2);
      button.setAttribute("aria-pressed", String(number === Math.min(pair, look.pairs.length - 1)));
      button.setAttribute("aria-label", `CKA of target ${names[1]} and guide ${names[0]}: ${cka.toFixed(2)}. Show their Gram matrices`);
    });
    const canvas = (name, label) => {
      const found = card.querySelector(`[data-picture=${name}]`);
      found?.setAttribute("aria-label", `${arm.name}, step ${look.step}: ${label}`);
      return found;
    };
    const shown = look.pairs[Math.min(pair, look.pairs.length - 1)];
    if (shown) {
      const [guide, target] = shown.names;
      drawGram(canvas("guide", `Gram matrix of guide layer ${guide}`), shown.guide, look.labels);
      drawGram(canvas("target", `Gram matrix of target layer ${target}, CKA ${shown.cka.toFixed(2)} to the guide's`), shown.target, look.labels);
      const pixels = arm.compared === "the pixels";
      card.querySelector("[data-layer=guide]").textContent = pixels ? "" : guide;
      card.querySelector("[data-layer=target]").textContent = target;
    }
    const classes = info.data.classes.length;
    drawConfusion(canvas("confusion", `confusion matrix, ${(100 * look.top1).toFixed(1)} % on its diagonal`), look.confusion, classes);
    const { shape } = replay.place(this.experiment.firstLayer(arm));
    const inputs = shape.slice(1).reduce((all, size) => all * size, 1);
    const image = shape.length === 4 ? shape.slice(1) : info.data.shape;
    const across = Math.min(4, Math.ceil(Math.sqrt(shape[0])));
    drawWeights2d(canvas("weights", "weights of its first units, as images"), look.weights, image, inputs, across, Math.min(across, Math.ceil(shape[0] / across)));
  }
}

/** Bars of the answers of each arm to one image. */
function showAnswers(place, answers, experiment, known) {
  const { arms, data } = experiment.info;
  place.innerHTML = arms.map((arm, color) => {
    if (!experiment.active.has(arm.name)) return "";
    const best = answers.get(arm.name).map((share, at) => ({ share, at })).sort((a, b) => b.share - a.share).slice(0, 3);
    const rows = best.map(({ share, at }) => `<li><span class="names">${escapeText(data.classes[at])}</span>
      <span class="bar"><span style="width:${(100 * share).toFixed(1)}%"></span></span><span class="value">${Math.round(100 * share)} %</span></li>`);
    const right = known === null ? "" : best[0].at === known ? " <small>right</small>" : " <small>wrong</small>";
    return `<div style="--own:var(--arm-${color})"><h4>${escapeText(arm.name)}${right}</h4><ol>${rows.join("")}</ol></div>`;
  }).join("");
}
