// out = lhs · rhs: the loop that the adapter, the sizes and the types call for, see crates/tensor/src/product.rs. All but the
// first take the same functions from the kernel that imports them.
#if COOPERATIVE
#import product_cooperative
#elif TALL
#import product_tall
#elif SUBGROUP
#import product_subgroup
#else
#import product_block
#endif
