// replay.js: recorded training steps, run again by WebGPU. docs/plan-format.md describes the document that it reads.
//
// A GPU does one thing for us: it runs a *kernel*, a function in WGSL, for every index of a grid. A training step is a list of such
// launches, a few dozen of them: gather a batch, multiply, compare, differentiate, update. Somebody has recorded that list. So
// this file knows nothing of networks. It makes the buffers, compiles the kernels, and walks the list.
//
//   document ─▶ buffers     GPUBuffer              numbers on the GPU: weights, images, activations, the step counter
//            ─▶ kernels     GPUComputePipeline     WGSL, compiled
//            ─▶ dispatches  GPUBindGroup           which buffers a launch reads and writes
//            ─▶ run         GPUCommandEncoder      the list, encoded and submitted; the GPU works it off by itself
//
// A step needs nothing from here: the batch follows from the seed and a step counter that lies on the GPU and that the last dispatch
// of the step advances. Running the list again *is* the next step.

"use strict";

/** Bytes of a slot in a uniform buffer: a dispatch's sizes begin at multiples of this on every adapter. */
const SLOT = 256;

/** Largest number of dispatches in one submission: a browser's page shares the GPU with the screen. */
const SUBMISSION = 2048;

class Replay {
  /**
   * Makes buffers and compiles kernels. `progress(done, all)` hears of each kernel that is ready.
   * Throws an Error that names the kernel or the dispatch that the browser refuses.
   */
  static async open(device, document, progress = () => {}) {
    if (document.format !== "trellis-plan" || document.version !== 1) {
      throw new Error(`this is no plan of version 1, but ${document.format} ${document.version}`);
    }
    const replay = new Replay();
    replay.device = device;
    replay.document = document;
    replay.values = {};
    replay.data = document.data.map(bytesOfBase64);
    replay.buffers = document.buffers.map((buffer) =>
      device.createBuffer({
        label: buffer.label,
        size: buffer.bytes,
        usage: GPUBufferUsage.STORAGE | GPUBufferUsage.COPY_SRC | GPUBufferUsage.COPY_DST,
      }));

    // Kernels compile at the same time, each on a thread of the browser's.
    let done = 0;
    replay.kernels = await Promise.all(document.kernels.map(async (kernel) => {
      const compiled = await compile(device, kernel);
      progress(++done, document.kernels.length);
      return compiled;
    }));

    replay.plans = {};
    for (const [name, plan] of Object.entries(document.plans)) {
      device.pushErrorScope("validation");
      replay.plans[name] = replay.bind(name, plan);
      const error = await device.popErrorScope();
      if (error) throw new Error(`${name}: ${error.message}`);
    }
    replay.reset();
    return replay;
  }

  /** The dispatches of a plan with what they bind: a slot of sizes, then the storage buffers. */
  bind(name, { dispatches }) {
    const words = new Uint32Array((dispatches.length * SLOT) / 4);
    dispatches.forEach(({ dims }, number) => words.set(dims, (number * SLOT) / 4));
    const sizes = this.device.createBuffer({
      label: `sizes of ${name}`,
      size: Math.max(words.byteLength, SLOT),
      usage: GPUBufferUsage.UNIFORM | GPUBufferUsage.COPY_DST,
    });
    const launches = dispatches.map(({ kernel, bind, groups }, number) => {
      const { pipeline, layout } = this.kernels[kernel];
      const slices = bind.map(([buffer, offset, size]) => ({ buffer: this.buffers[buffer], offset, size }));
      const entries = [{ buffer: sizes, offset: number * SLOT, size: SLOT }, ...slices]
        .map((resource, binding) => ({ binding, resource }));
      return { pipeline, groups, bindings: this.device.createBindGroup({ layout, entries }) };
    });
    return { sizes, words, launches };
  }

  /** Brings every buffer back to what it held when the plan was recorded, with the present values of the settings. */
  reset() {
    const encoder = this.device.createCommandEncoder();
    this.document.buffers.forEach(({ contents }, number) => {
      if (!contents) encoder.clearBuffer(this.buffers[number]);
    });
    this.device.queue.submit([encoder.finish()]);
    this.document.buffers.forEach(({ contents }, number) => {
      if (!contents) return;
      const bytes = contents.data === undefined
        ? new Uint32Array(contents.words).fill(contents.fill)
        : this.data[contents.data];
      this.device.queue.writeBuffer(this.buffers[number], 0, bytes);
    });
    for (const { sizes, words } of Object.values(this.plans)) this.device.queue.writeBuffer(sizes, 0, words);
    for (const [name, value] of Object.entries(this.values)) this.set(name, value);
  }

  /** Sets a setting, a learning rate or a seed for example, from the next step on. It stays set when buffers are reset. */
  set(name, value) {
    const { dtype, words } = this.document.settings[name];
    this.values[name] = value;
    for (const { plan, dispatch, buffer, word, factor } of words) {
      // A recording may have folded a number into the setting: the word is factor · value, rounded as the recorder rounds.
      const bits = dtype === "f32" ? new Float32Array([Math.fround(value) * Math.fround(factor)]) : new Uint32Array([value]);
      if (plan === undefined) {
        this.device.queue.writeBuffer(this.buffers[buffer], 4 * word, bits);
      } else {
        this.device.queue.writeBuffer(this.plans[plan].sizes, dispatch * SLOT + 4 * word, bits);
      }
    }
  }

  /**
   * Runs plans, one after another, in few submissions: `run(["alone.alone", "alone.alone"])` takes two steps. Returns at once. Of
   * two dispatches that use the same buffer WebGPU runs the second when the first has ended, so nothing else orders them.
   */
  run(names) {
    let encoder = this.device.createCommandEncoder();
    let encoded = 0;
    const submit = () => {
      this.device.queue.submit([encoder.finish()]);
      encoder = this.device.createCommandEncoder();
      encoded = 0;
    };
    for (const name of names) {
      const pass = encoder.beginComputePass({ label: name });
      for (const launch of this.plans[name].launches) launchIn(pass, launch);
      pass.end();
      encoded += this.plans[name].launches.length;
      if (encoded > SUBMISSION) submit();
    }
    submit();
  }

  /** A named tensor, or `[plan, name]` for a value that a plan keeps. */
  place(name) {
    const place = Array.isArray(name) ? this.document.plans[name[0]].outputs[name[1]] : this.document.tensors[name];
    if (!place) throw new Error(`the plan has no tensor ${name}`);
    return place;
  }

  /** Writes a tensor, from element `first` on. */
  write(name, values, first = 0) {
    const { buffer, offset } = this.place(name);
    this.device.queue.writeBuffer(this.buffers[buffer], offset + first * values.BYTES_PER_ELEMENT, values);
  }

  /** Values of several tensors after everything that was submitted before, as typed arrays in the same order. */
  async read(names) {
    const places = names.map((name) => this.place(name));
    const elements = places.map(({ shape }) => shape.reduce((all, size) => all * size, 1));
    const bytes = places.map(({ dtype }, i) => Math.ceil((elements[i] * (dtype === "u8" ? 1 : 4)) / 4) * 4);
    const starts = bytes.map((_, i) => bytes.slice(0, i).reduce((all, size) => all + size, 0));
    const staging = this.device.createBuffer({
      size: Math.max(4, bytes.reduce((all, size) => all + size, 0)),
      usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST,
    });
    const encoder = this.device.createCommandEncoder();
    places.forEach(({ buffer, offset }, i) =>
      encoder.copyBufferToBuffer(this.buffers[buffer], offset, staging, starts[i], bytes[i]));
    this.device.queue.submit([encoder.finish()]);
    await staging.mapAsync(GPUMapMode.READ);
    const copy = staging.getMappedRange().slice(0);
    staging.destroy();
    const kinds = { f32: Float32Array, u32: Uint32Array, u8: Uint8Array };
    return places.map(({ dtype }, i) => new kinds[dtype](copy, starts[i], elements[i]));
  }

  /**
   * Runs a plan once and measures each of its dispatches: milliseconds, in their order. Each is in a pass of its own, with a time
   * stamp before and after it. `null` where the browser has no time stamps. Browsers round them, to 0.1 ms as a rule.
   */
  async time(name) {
    if (!this.device.features.has("timestamp-query")) return null;
    const { launches } = this.plans[name];
    const times = [];
    // A set of queries has 4096 at most.
    for (let first = 0; first < launches.length; first += 2048) {
      const some = launches.slice(first, first + 2048);
      const count = 2 * some.length;
      const querySet = this.device.createQuerySet({ type: "timestamp", count });
      const resolved = this.device.createBuffer({ size: 8 * count, usage: GPUBufferUsage.QUERY_RESOLVE | GPUBufferUsage.COPY_SRC });
      const staging = this.device.createBuffer({ size: 8 * count, usage: GPUBufferUsage.MAP_READ | GPUBufferUsage.COPY_DST });
      const encoder = this.device.createCommandEncoder();
      some.forEach((launch, i) => {
        const timestampWrites = { querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 };
        const pass = encoder.beginComputePass({ timestampWrites });
        launchIn(pass, launch);
        pass.end();
      });
      encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
      encoder.copyBufferToBuffer(resolved, 0, staging, 0, 8 * count);
      this.device.queue.submit([encoder.finish()]);
      await staging.mapAsync(GPUMapMode.READ);
      const stamps = new BigUint64Array(staging.getMappedRange().slice(0));
      some.forEach((_, i) => times.push(Number(stamps[2 * i + 1] - stamps[2 * i]) / 1e6));
      querySet.destroy();
      resolved.destroy();
      staging.destroy();
    }
    return times;
  }
}

/** Compiles a kernel. Binding 0 is its sizes, bindings 1, 2, … the buffers that it reads or writes. */
async function compile(device, { name, wgsl, constants, access }) {
  const entry = (binding, type) => ({ binding, visibility: GPUShaderStage.COMPUTE, buffer: { type } });
  const storage = access.map((kind, i) => entry(i + 1, kind === "read" ? "read-only-storage" : "storage"));
  const layout = device.createBindGroupLayout({ label: name, entries: [entry(0, "uniform"), ...storage] });
  const module = device.createShaderModule({ label: name, code: wgsl });
  try {
    const pipeline = await device.createComputePipelineAsync({
      label: name,
      layout: device.createPipelineLayout({ bindGroupLayouts: [layout] }),
      compute: { module, entryPoint: name, constants },
    });
    return { pipeline, layout };
  } catch (refusal) {
    const { messages } = await module.getCompilationInfo();
    const lines = messages.map(({ lineNum, message }) => `line ${lineNum}: ${message}`);
    throw new Error(`kernel ${name}: ${[refusal.message, ...lines].join("\n")}`);
  }
}

/** Encodes one launch: its kernel, its buffers, its grid of workgroups. */
function launchIn(pass, { pipeline, bindings, groups }) {
  pass.setPipeline(pipeline);
  pass.setBindGroup(0, bindings);
  pass.dispatchWorkgroups(...groups);
}

/** Bytes of a text in base64. */
function bytesOfBase64(text) {
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let i = 0; i < binary.length; i++) bytes[i] = binary.charCodeAt(i);
  return bytes;
}
