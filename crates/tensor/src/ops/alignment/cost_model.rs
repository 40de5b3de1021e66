//! Cost model that chooses the matrices from which biased linear CKA is computed.
//!
//! The same number is `<K, L> / (|K| |L|)` of two n × n Gram matrices of examples and `|XᵀY|² / (|XᵀX| |YᵀY|)` of products
//! of features. The first costs n² for every feature, the second p², q² and p·q for every example. The model depends on sizes
//! alone: the choice is the same on every adapter, and so are the bits of a run that it decides on.

/// A way to compute biased linear CKA of `[n, p]` and `[n, q]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CkaForm {
    /// Gram matrices of examples, `X Xᵀ` and `Y Yᵀ`, both `[n, n]`: [`Var::cka`](crate::Var::cka).
    Examples,
    /// Products of features, `XᵀX`, `YᵀY` and `YᵀX`: [`Var::cka_by_features`](crate::Var::cka_by_features).
    Features,
}

/// Sizes of a comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CkaSizes {
    /// Examples.
    pub n: usize,
    /// Features of the first layer, the one that takes a gradient.
    pub p: usize,
    /// Features of the second layer.
    pub q: usize,
    /// True if a gradient is wanted.
    pub gradient: bool,
}

/// Cost of one form beyond the two centerings, which both need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CkaCost {
    /// Floating-point operations, edges of product kernels filled up.
    pub flops: usize,
    /// Bytes that must be read and written at least once.
    pub bytes: usize,
    /// Launches.
    pub dispatches: usize,
}

/// Number of operations that take the time of a byte, and of a launch. Measured on two cores of software Vulkan: products 30
/// GFLOP/s, memory 5 GB/s, 50 to 90 µs for a launch. A GPU has fewer operations to the byte and more to the launch.
const BYTE: usize = 6;
const LAUNCH: usize = 3_000_000;

/// Least number of rows and columns that a product computes.
const BLOCK: usize = 32;

impl CkaCost {
    /// Total cost, in operations.
    pub fn total(self) -> usize {
        self.flops + BYTE * self.bytes + LAUNCH * self.dispatches
    }
}

impl CkaForm {
    /// The cheaper form. Features have to be cheaper by a tenth: where the two are close, the form with fewer launches is
    /// the safer bet.
    pub fn choose(sizes: CkaSizes) -> Self {
        let [examples, features] = [Self::Examples, Self::Features].map(|form| form.cost(sizes).total());
        if features < examples - examples / 10 { Self::Features } else { Self::Examples }
    }

    /// Cost of this form.
    pub fn cost(self, CkaSizes { n, p, q, gradient }: CkaSizes) -> CkaCost {
        let full = |size: usize| size.next_multiple_of(BLOCK);
        let gradient = usize::from(gradient);
        match self {
            Self::Examples => CkaCost {
                flops: full(n) * full(n) * (p + q) + 6 * n * n + gradient * 2 * full(n) * n * full(p),
                // K and L are written and read; for the gradient once more, with X and dX.
                bytes: 4 * (n * (p + q) + 4 * n * n + gradient * (2 * n * n + 2 * n * p)),
                dispatches: 3 + gradient,
            },
            Self::Features => CkaCost {
                flops: n * (full(p) * full(p) + full(q) * full(q) + 2 * full(p) * full(q))
                    + 2 * (p * p + q * q + p * q)
                    + gradient * 2 * full(n) * full(p) * (p + q),
                bytes: 4
                    * (2 * n * (p + q) + 2 * (p * p + q * q + p * q) + gradient * (p * p + p * q + n * q + 2 * n * p)),
                dispatches: 4 + gradient,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn choose(n: usize, p: usize, q: usize) -> [CkaForm; 2] {
        [false, true].map(|gradient| CkaForm::choose(CkaSizes { n, p, q, gradient }))
    }

    #[test]
    fn narrow_layers_of_large_batches_are_compared_by_features() {
        assert_eq!(choose(1024, 64, 64), [CkaForm::Features; 2]);
        assert_eq!(choose(2048, 256, 10), [CkaForm::Features; 2]);
        assert_eq!(choose(50_000, 512, 512), [CkaForm::Features; 2]);
    }

    #[test]
    fn wide_layers_are_compared_by_examples() {
        assert_eq!(choose(128, 512, 512), [CkaForm::Examples; 2]);
        assert_eq!(choose(512, 512, 512), [CkaForm::Examples; 2]);
        assert_eq!(choose(256, 10, 150_528), [CkaForm::Examples; 2]);
        assert_eq!(choose(256, 150_528, 10), [CkaForm::Examples; 2]);
    }

    /// Sizes from the configurations of this repository: there a launch costs more than the products.
    #[test]
    fn small_batches_keep_the_form_with_fewer_launches() {
        for n in [64, 100, 128] {
            for p in [128, 256, 512] {
                for q in [10, 16, 32, 784, 6272] {
                    assert_eq!(choose(n, p, q), [CkaForm::Examples; 2], "n {n}, p {p}, q {q}");
                }
            }
        }
        assert_eq!(choose(128, 10, 10), [CkaForm::Examples; 2]);
    }
}
