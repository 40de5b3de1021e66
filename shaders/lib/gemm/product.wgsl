// out = lhs · rhs: the loop that the adapter, the sizes and the types call for, see crates/tensor/src/ops/gemm/variant.rs.
// All but the first take the same functions from the kernel that imports them.
#if COOPERATIVE
#import gemm/product_cooperative
#elif BLOCK
#import gemm/product_block
#else
#import gemm/product_subgroup
#endif

// Four numbers of a side, as loaded. NATIVE: two sides of f16 for matrix units, which read them unconverted.
#if NATIVE
alias Four = vec4<f16>;
#else
alias Four = vec4f;
#endif
