// weights.js: initial weights under another seed, drawn as the native program draws them. Philox4x32-10 (Salmon et al. 2011) is a
// function of a key and a counter: the same bits wherever it is computed.

"use strict";

/** Ten rounds of Philox on four words under a key of two. */
function philox(counter, key) {
  let [a, b, c, d] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = product(0xd2511f53, a);
    const [high1, low1] = product(0xcd9e8d57, c);
    [a, b, c, d] = [(high1 ^ b ^ k0) >>> 0, low1, (high0 ^ d ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [a, b, c, d];
}

/** High and low word of a product of two words. */
function product(a, b) {
  const [a1, a0, b1, b0] = [a >>> 16, a & 0xffff, b >>> 16, b & 0xffff];
  const middle = a1 * b0 + (((a0 * b0) >>> 16) >>> 0);
  const other = a0 * b1 + (middle % 0x10000);
  return [(a1 * b1 + Math.floor(middle / 0x10000) + Math.floor(other / 0x10000)) >>> 0, Math.imul(a, b) >>> 0];
}

/** Stream number `stream` (two words, low first) of a seed below 2³²: a function that gives the next number in [0, 1). */
function uniforms(seed, stream) {
  let [block, used, words] = [0, 4, []];
  return () => {
    if (used === 4) {
      words = philox([block, 0, stream[0], stream[1]], [seed, 0]);
      block += 1;
      used = 0;
    }
    return (words[used++] >>> 8) / 16777216;
  };
}

/** `count` initial values of a tensor: uniform in ± value, normal with that deviation, or constant. */
function drawWeights({ kind, value, stream }, seed, count) {
  const weights = new Float32Array(count);
  const next = uniforms(seed, stream);
  const bound = Math.fround(value);
  for (let i = 0; i < count; i++) {
    if (kind === "constant") {
      weights[i] = value;
    } else if (kind === "uniform") {
      weights[i] = Math.fround(-bound + Math.fround(Math.fround(bound + bound) * next()));
    } else {
      // Box and Muller.
      const radius = Math.sqrt(-2 * Math.log(Math.fround(1 - next())));
      weights[i] = Math.fround(bound * Math.fround(radius * Math.cos(2 * Math.PI * next())));
    }
  }
  return weights;
}
