//! Convolutions on GPUs, one tap of the window after the other. In that order an iteration of the product has one tap. So the
//! position of a pixel, and whether it lies in the image, is computed once a tap and not once an element.

use super::geometry::{Geometry, folded_norm, scratch};
use crate::device::caps::Caps;
use crate::graph::op::{Arg, Dispatch, Lowered, Op};
use crate::kernel;
use crate::ops::gemm::block::conv_parts;
use crate::ops::gemm::epilogue::Epilogue;
use crate::ops::gemm::members::{GemmVariant, Layout, Units};
use crate::ops::gemm::variant::{k_ranges, sum_parts};
use crate::ops::movement::view::Permute;
use crate::shape::TensorType;

/// Greatest height and width of images: a position is one word.
const LONGEST: usize = 16_384;

/// Greatest number of bytes of all parts of an output.
const PARTS: usize = 64 << 20;

impl Geometry {
    /// The convolution, or with `gradient` that of its input, as a product of `[m, n, k]`. `None` where the adapter has no block
    /// for it, or channels are no whole number of iterations.
    pub(super) fn by_tap(
        &self,
        caps: &Caps,
        [gradient, half]: [bool; 2],
        [m, n, k]: [usize; 3],
        epilogue: Epilogue,
    ) -> Option<Lowered> {
        let layout = if gradient { Layout::TN } else { Layout::NN };
        let channels = self.channels[usize::from(gradient)];
        let on_units = Units::for_conv(caps, half, &[m]).filter(|units| channels.is_multiple_of(units.depth.into()));
        let chosen = match on_units {
            Some(units) => GemmVariant::Cooperative(units),
            None => GemmVariant::Block(caps.conv_block(layout, [m, n, k])?),
        };
        let whole = chosen.whole_turns(channels) && m.is_multiple_of(4);
        let [source, target] = if gradient { [self.output, self.image] } else { [self.image, self.output] };
        let longest = [source, target].concat().into_iter().max().unwrap_or(0);
        if !whole || longest > LONGEST || k_ranges(caps, k).count() > 1 {
            return None;
        }
        let step = if gradient { self.stride } else { 1 };
        let [rows, columns] = target.map(|size| size.div_ceil(step));
        let columns_of_class = self.batch * rows * columns;
        let [block_rows, block_columns] = chosen.block();
        let groups = step * step * m.div_ceil(block_rows) * columns_of_class.div_ceil(block_columns);
        // The epilogue of a sum of parts knows no channels.
        let most = if epilogue.bias || epilogue.norm.is_some() { 1 } else { (PARTS / (4 * m * n)).max(1) };
        let parts = conv_parts(groups, k / (step * step)).min(most);
        let length = k.div_ceil(parts).next_multiple_of(chosen.depth());
        let parts = k.div_ceil(length);

        let mut lowered = Lowered { dispatches: Vec::new(), scratch: Vec::new() };
        let [in_channels, out_channels] = self.channels;
        let weights = if self.window == [1, 1] {
            Arg::Input(1)
        } else {
            let [kh, kw] = self.window;
            let from = TensorType::f32([out_channels, in_channels, kh, kw]);
            let to = TensorType::f32([kh, kw, out_channels, in_channels]);
            let reordered = Permute { order: vec![2, 3, 0, 1] }.lower(caps, &[&from], &to);
            let target = scratch(&mut lowered, 4 * to.elements());
            lowered.dispatches.extend(reordered.dispatches.into_iter().map(|d| d.args([Arg::Input(1), target])));
            target
        };
        let out = if parts > 1 { scratch(&mut lowered, 4 * parts * m * n) } else { Arg::Output };
        let last = if parts > 1 { Epilogue::default() } else { epilogue };
        let [bias, residual, saved] = last.args(2);
        let bias = folded_norm(&mut lowered, last, m).unwrap_or(bias);
        let dispatch = chosen
            .dispatch(kernel!("conv/conv2d_by_tap"), [m, columns_of_class], step * step * parts)
            .flag("EMULATED", chosen.emulated(caps))
            .flag("BY_TAP", true)
            .flag("NEAR", true)
            .flag("SPREAD", true)
            .flag("WHOLE", true)
            .flag("GRADIENT", gradient)
            .flag(if gradient { "LHS_R4" } else { "LHS_K4" }, true)
            .dims(&[m, columns_of_class, channels, length])
            .dims(&source)
            .dims(&target)
            .dims(&[self.padding, rows, columns])
            .args([Arg::Input(0), weights, bias, residual, saved, out])
            .flops(self.flops());
        lowered.dispatches.push(self.window_constants(last.constants(dispatch).constant("SCALES", m as u32)));
        if parts > 1 {
            let [bias, residual, saved] = epilogue.args(2);
            let sum = sum_parts(parts, [1, m * n]).args([out, bias, residual, saved, Arg::Output]);
            lowered.dispatches.push(epilogue.constants(sum));
        }
        Some(lowered)
    }

    /// The gradient of the weights, a product of `[m, n, k]` whose k is cut into `parts`. `None` where the adapter has no block
    /// for it, or channels are no whole number of blocks.
    pub(super) fn weight_grad_by_tap(
        &self,
        caps: &Caps,
        half: bool,
        [m, n, k]: [usize; 3],
        parts: usize,
    ) -> Option<Dispatch> {
        let channels = self.channels[0];
        let on_units =
            Units::for_conv(caps, half, &[m, channels]).filter(|units| channels.is_multiple_of(units.columns.into()));
        let chosen = match on_units {
            Some(units) => GemmVariant::Cooperative(units),
            None => GemmVariant::Block(caps.weight_grad_block([m, n, k], channels)?),
        };
        // An invocation has one position in an iteration.
        let one_position = match chosen {
            GemmVariant::Block(block) => block.invocations().is_multiple_of(block.depth.into()),
            _ => true,
        };
        if !channels.is_multiple_of(chosen.block()[1]) || !one_position {
            return None;
        }
        let part = k.div_ceil(parts);
        let dispatch = chosen
            .dispatch(kernel!("conv/conv2d_weight_grad_by_tap"), [m, n], parts)
            .flag("EMULATED", chosen.emulated(caps))
            .flag("BY_TAP", true)
            .flag("RHS_K", true)
            .flag("WHOLE", chosen.whole_turns(part) && k.is_multiple_of(part))
            .dims(&[m, n, k, part, channels])
            .dims(&self.image)
            .dims(&self.output)
            .dims(&[self.padding])
            .flops(self.flops());
        Some(self.window_constants(dispatch))
    }
}
