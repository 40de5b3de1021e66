//! Builder of a plan: places values in buffers, lowers ops to dispatches, compiles and binds them.

use std::any::Any;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use super::barriers::Use;
use super::memory::{Allocation, share};
use super::order::Turn;
use super::pending::Pending;
use super::{BufferSlice, Launch, Plan};
use crate::device::gpu::{ALIGNMENT, Gpu, Pipeline};
use crate::device::pool::Buffer;
use crate::error::{Error, Result};
use crate::graph::Kind;
use crate::graph::op::{Arg, Dispatch, Lowered, Op};
use crate::ops::Pack;
use crate::plan::fuse::Fused;
use crate::plan::kernel::Access;
use crate::shape::TensorType;
use crate::tensor::Tensor;

pub(super) struct Builder<'a> {
    gpu: &'a Gpu,
    fused: &'a Fused,
    kept: &'a [bool],
    slices: Vec<Option<BufferSlice>>,
    /// Buffers of the values that are not placed yet, in that order.
    upcoming: VecDeque<Arc<Buffer>>,
    owned: Vec<Arc<Buffer>>,
    /// Slices whose contents a step finds: leaves, constants, zeros; each with its number of bytes.
    given: Vec<(BufferSlice, usize)>,
    /// Buffers shared with a plan that does not run at the same time.
    shared: Vec<Arc<Buffer>>,
    /// Buffers that another such plan may share.
    shareable: Vec<Arc<Buffer>>,
    constants: HashMap<(u32, usize), BufferSlice>,
    pending: Vec<Pending>,
    unused: BufferSlice,
}

impl<'a> Builder<'a> {
    pub(super) fn new(gpu: &'a Gpu, fused: &'a Fused, kept: &'a [bool], shared: Vec<Arc<Buffer>>) -> Result<Self> {
        let unused = BufferSlice { buffer: Arc::new(Buffer::new(gpu, "unused binding", ALIGNMENT)?), offset: 0 };
        Ok(Self {
            gpu,
            fused,
            kept,
            slices: vec![None; fused.nodes.len()],
            upcoming: VecDeque::new(),
            owned: vec![unused.buffer.clone()],
            given: Vec::new(),
            shared,
            shareable: Vec::new(),
            constants: HashMap::new(),
            pending: Vec::new(),
            unused,
        })
    }

    /// The plan, with its dispatches in the order that `order` gives them from the buffers that they use.
    pub(super) fn build(mut self, order: impl Fn(&[Vec<Use>]) -> Vec<Turn>) -> Result<Plan> {
        self.place_and_lower()?;
        self.finish(order)
    }

    /// The plan of dispatches whose buffers are tensors, see [`Plan::of_dispatches`].
    pub(super) fn on_tensors(
        mut self,
        dispatches: &[(Dispatch, &[&Tensor])],
        order: impl Fn(&[Vec<Use>]) -> Vec<Turn>,
    ) -> Result<Plan> {
        for (dispatch, tensors) in dispatches {
            let kernel = dispatch.variant.kernel;
            let accesses = kernel.bindings()?;
            let wrong = |problem| Err(Error::Kernel { file: format!("{}.wgsl", kernel.name), line: 0, problem });
            if accesses.len() != tensors.len() {
                let (has, given) = (accesses.len(), tensors.len());
                return wrong(format!(
                    "has {has} storage bindings, and {given} tensors are given: one for each, in order"
                ));
            }
            for (number, tensor) in
                tensors.iter().enumerate().filter(|(number, _)| accesses[*number] == Access::ReadWrite)
            {
                let same = |other: &&Tensor| Arc::ptr_eq(other.buffer(), tensor.buffer());
                if tensors.iter().filter(|other| same(other)).count() > 1 {
                    let problem =
                        format!("writes binding {}, and {} is bound twice: give a copy", number + 1, tensor.name());
                    return wrong(problem);
                }
            }
            let bindings = tensors.iter().map(|tensor| (self.give(tensor), tensor.ty().bytes())).collect();
            self.pending.push(Pending { dispatch: dispatch.clone(), bindings, op: kernel.name, layer: "".into() });
        }
        self.finish(order)
    }

    /// Places every value in a buffer, and lowers ops to dispatches in the order of the recording.
    fn place_and_lower(&mut self) -> Result<()> {
        let fused = self.fused;
        let software = self.gpu.caps().software;
        let packed = fused.packed(self.kept, software);
        let order = fused.order(self.kept, software);
        let mut keeps = vec![false; fused.nodes.len()];
        (0..keeps.len()).filter(|&id| self.kept[id]).for_each(|id| keeps[fused.storage(id)] = true);

        self.upcoming = self.buffers(&self.allocations(&order, &packed, &keeps))?;
        for id in order {
            let node = &fused.nodes[id];
            if let Some(elements) = fused.view(id) {
                let BufferSlice { buffer, offset } = self.placed(node.inputs[0]);
                self.slices[id] = Some(BufferSlice { buffer, offset: offset + 4 * elements });
                continue;
            }
            match &node.kind {
                Kind::Leaf(tensor) => {
                    self.slices[id] = Some(self.give(tensor));
                }
                Kind::Constant(value) => self.slices[id] = Some(self.constant(*value, &node.ty)?),
                Kind::Reshape => unreachable!("a reshape is a view"),
                Kind::Op(op) => {
                    if self.slices[id].is_none() {
                        self.slices[id] = Some(self.place(id, packed[id])?);
                    }
                    self.lower(id, op.as_ref(), &packed);
                }
            }
        }
        Ok(())
    }

    fn is_pack(&self, id: usize) -> bool {
        matches!(&self.fused.nodes[id].kind, Kind::Op(op) if (op.as_ref() as &dyn Any).is::<Pack>())
    }

    /// Buffer slice of the output of op `id`.
    fn place(&mut self, id: usize, packed: Option<(usize, usize)>) -> Result<BufferSlice> {
        if let Some((pack, offset)) = packed {
            if self.slices[pack].is_none() {
                self.slices[pack] = Some(self.zeroed_place(pack)?);
            }
            let buffer = self.slices[pack].as_ref().expect("placed above").buffer.clone();
            return Ok(BufferSlice { buffer, offset });
        }
        if self.is_pack(id) {
            return self.zeroed_place(id);
        }
        Ok(BufferSlice { buffer: self.next_buffer(), offset: 0 })
    }

    /// A buffer of its own for a pack: the gaps between its parts are zero and stay so.
    fn zeroed_place(&mut self, id: usize) -> Result<BufferSlice> {
        let node = &self.fused.nodes[id];
        let tensor = Tensor::zeros(self.gpu, &node.layer, node.ty.clone())?;
        self.owned.push(tensor.buffer().clone());
        Ok(self.give(&tensor))
    }

    /// The slice of a tensor, whose contents a step finds.
    fn give(&mut self, tensor: &Tensor) -> BufferSlice {
        let place = of_leaf(tensor);
        self.given.push((place.clone(), tensor.ty().bytes()));
        place
    }

    fn constant(&mut self, value: f32, ty: &TensorType) -> Result<BufferSlice> {
        let key = (value.to_bits(), ty.elements());
        if let Some(place) = self.constants.get(&key) {
            return Ok(place.clone());
        }
        let tensor = Tensor::filled(self.gpu, "constant", ty.shape.clone(), value)?;
        self.owned.push(tensor.buffer().clone());
        let place = self.give(&tensor);
        self.constants.insert(key, place.clone());
        Ok(place)
    }

    /// Values that need a buffer, in the order in which they are placed: of each op the output, then its scratch.
    fn allocations(&self, order: &[usize], packed: &[Option<(usize, usize)>], keeps: &[bool]) -> Vec<Allocation> {
        let fused = self.fused;
        let last_reader = fused.last_reader(order);
        let mut position = vec![0; fused.nodes.len()];
        order.iter().enumerate().for_each(|(at, &id)| position[id] = at);
        let mut allocations = Vec::new();
        for (at, &id) in order.iter().enumerate() {
            let node = &fused.nodes[id];
            let Kind::Op(op) = &node.kind else { continue };
            if fused.view(id).is_some() {
                continue;
            }
            if packed[id].is_none() && !self.is_pack(id) {
                let label = format!("{} {}", node.op_name(), node.layer).trim_end().to_string();
                let end = if keeps[id] { usize::MAX } else { position[last_reader[id]] };
                allocations.push(Allocation { label, bytes: node.ty.bytes(), live: at..=end });
            }
            for bytes in self.lowered(id, op.as_ref()).map_or(Vec::new(), |lowered| lowered.scratch) {
                allocations.push(Allocation { label: node.layer.to_string(), bytes, live: at..=at });
            }
        }
        allocations
    }

    /// A buffer for each of the values; several of them may be the same.
    fn buffers(&mut self, allocations: &[Allocation]) -> Result<VecDeque<Arc<Buffer>>> {
        let (buffer_of, largest) = share(allocations, self.gpu.caps().software);
        let mut keeps = vec![false; largest.len()];
        for (&buffer, need) in buffer_of.iter().zip(allocations) {
            keeps[buffer] |= *need.live.end() == usize::MAX;
        }
        let mut shared = std::mem::take(&mut self.shared);
        shared.sort_by_key(|buffer| buffer.size());
        let mut buffers = Vec::with_capacity(largest.len());
        for (&need, &keeps) in largest.iter().zip(&keeps) {
            let Allocation { label, bytes, .. } = &allocations[need];
            // The smallest shared buffer that is large enough.
            let found = shared.iter().position(|buffer| buffer.size() >= *bytes as u64).filter(|_| !keeps);
            let buffer = match found {
                Some(found) => shared.remove(found),
                None => {
                    let buffer = Arc::new(Buffer::new(self.gpu, label, *bytes)?);
                    self.owned.push(buffer.clone());
                    buffer
                }
            };
            if !keeps {
                self.shareable.push(buffer.clone());
            }
            buffers.push(buffer);
        }
        self.shareable.extend(shared);
        Ok(buffer_of.into_iter().map(|buffer| buffers[buffer].clone()).collect())
    }

    fn next_buffer(&mut self) -> Arc<Buffer> {
        self.upcoming.pop_front().expect("everything that is placed was counted")
    }

    /// An op's dispatches; none for an output without elements, so kernels need not handle that case.
    fn lowered(&self, id: usize, op: &dyn Op) -> Option<Lowered> {
        let node = &self.fused.nodes[id];
        let types: Vec<&TensorType> = node.inputs.iter().map(|&input| &self.fused.nodes[input].ty).collect();
        let nothing = node.ty.elements() == 0 && op.updates().is_empty();
        (!nothing).then(|| op.lower(self.gpu.caps(), &types, &node.ty))
    }

    fn lower(&mut self, id: usize, op: &dyn Op, packed: &[Option<(usize, usize)>]) {
        let fused = self.fused;
        let node = &fused.nodes[id];
        let Some(lowered) = self.lowered(id, op) else { return };
        let types: Vec<&TensorType> = node.inputs.iter().map(|&input| &fused.nodes[input].ty).collect();
        let scratch: Vec<Arc<Buffer>> = lowered.scratch.iter().map(|_| self.next_buffer()).collect();
        let any: &dyn Any = op;
        let dispatches = match any.downcast_ref::<Pack>() {
            Some(pack) => {
                let in_place =
                    |&number: &usize| packed[fused.storage(node.inputs[number])].is_some_and(|(of, _)| of == id);
                pack.copies((0..types.len()).filter(|number| !in_place(number)), &types)
            }
            None => lowered.dispatches,
        };
        for dispatch in dispatches {
            let bindings = dispatch
                .args
                .iter()
                .map(|arg| match *arg {
                    Arg::Input(i) => (self.placed(node.inputs[i]), types[i].bytes()),
                    Arg::Output => (self.placed(id), node.ty.bytes()),
                    Arg::Scratch(i) => (BufferSlice { buffer: scratch[i].clone(), offset: 0 }, lowered.scratch[i]),
                    Arg::Unused => (self.unused.clone(), 0),
                })
                .collect();
            let layer = node.layer.as_ref().into();
            self.pending.push(Pending { dispatch, bindings, op: op.name(), layer });
        }
    }

    fn placed(&self, id: usize) -> BufferSlice {
        self.slices[id].clone().expect("inputs precede their readers")
    }

    fn finish(mut self, order: impl Fn(&[Vec<Use>]) -> Vec<Turn>) -> Result<Plan> {
        let (uniforms, slots) = self.uniforms()?;
        let gpu = self.gpu;
        // This is checked in a dry run too: a run then accepts what the dry run accepts.
        self.pending.iter().try_for_each(|pending| pending.check_size(gpu))?;
        if gpu.is_dry_run() {
            self.pending.clear();
        }
        let pipelines: Vec<Arc<Pipeline>> =
            self.pending.iter().map(|pending| gpu.pipeline(&pending.dispatch.variant)).collect::<Result<_>>()?;
        let (uses, buffers) = self.uses(&pipelines);
        let mut launches = Vec::with_capacity(self.pending.len());
        for turn in order(&uses) {
            let (pending, pipeline) = (&self.pending[turn.dispatch], &pipelines[turn.dispatch]);
            let bind_group = pending.bind(gpu, pipeline, &uniforms, slots[turn.dispatch])?;
            let moved = turn.moved.iter().map(|&buffer| buffers[buffer].raw().clone()).collect();
            let (groups, info) = (pending.dispatch.groups, pending.info(turn.barrier));
            let pending = pending.clone();
            launches.push(Launch { moved, pipeline: pipeline.clone(), bind_group, groups, info, pending });
        }
        let kept = (0..self.kept.len())
            .filter(|&id| self.kept[id])
            .map(|id| (id, (self.placed(id), self.fused.nodes[id].ty.clone())))
            .collect();
        self.owned.push(uniforms);
        let memory = self.owned.iter().map(|buffer| buffer.size()).sum();
        let (shareable, given) = (self.shareable, self.given);
        Ok(Plan { gpu: gpu.clone(), launches, kept, memory, shareable, given, _owned: self.owned })
    }

    /// Buffers that each dispatch uses, and the buffers by their numbers.
    fn uses(&self, pipelines: &[Arc<Pipeline>]) -> (Vec<Vec<Use>>, Vec<Arc<Buffer>>) {
        let mut numbers: HashMap<*const Buffer, usize> = HashMap::new();
        let mut buffers = Vec::new();
        let mut number = |place: &BufferSlice| {
            *numbers.entry(Arc::as_ptr(&place.buffer)).or_insert_with(|| {
                buffers.push(place.buffer.clone());
                buffers.len() - 1
            })
        };
        // Dispatches that write the unused buffer would wait for each other.
        let sound =
            |place: &BufferSlice, access| access == Access::Read || !Arc::ptr_eq(&place.buffer, &self.unused.buffer);
        let mut uses = Vec::with_capacity(self.pending.len());
        for (pending, pipeline) in self.pending.iter().zip(pipelines) {
            let bound = pending.bindings.iter().zip(&pipeline.bindings);
            debug_assert!(
                bound.clone().all(|((place, _), &access)| sound(place, access)),
                "{}: unused, but written",
                pending.op
            );
            uses.push(bound.map(|((place, _), &access)| Use { buffer: number(place), access }).collect());
        }
        (uses, buffers)
    }

    /// One buffer with the `dims` of every dispatch, and each one's offset; equal ones are stored once.
    fn uniforms(&self) -> Result<(Arc<Buffer>, Vec<usize>)> {
        let words = ALIGNMENT / 4;
        let mut contents: Vec<u32> = Vec::new();
        let mut known: HashMap<&[u32], usize> = HashMap::new();
        let mut slots = Vec::with_capacity(self.pending.len());
        for pending in &self.pending {
            let dims = pending.dispatch.dims.as_slice();
            assert!(dims.len() <= words, "{}: dims", pending.op);
            let slot = *known.entry(dims).or_insert_with(|| {
                let start = contents.len();
                contents.extend_from_slice(dims);
                contents.resize(start + words, 0);
                4 * start
            });
            slots.push(slot);
        }
        let buffer = Buffer::new(self.gpu, "kernel sizes", (4 * contents.len()).max(ALIGNMENT))?;
        self.gpu.write(buffer.raw(), 0, bytemuck::cast_slice(&contents));
        Ok((Arc::new(buffer), slots))
    }
}

fn of_leaf(tensor: &Tensor) -> BufferSlice {
    BufferSlice { buffer: tensor.buffer().clone(), offset: tensor.offset() }
}
