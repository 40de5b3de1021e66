// out = lhs · rhs: the loop that the adapter and the sizes call for, see crates/tensor/src/product.rs. All three take the
// same functions from the kernel that imports them.
#if SUBGROUP
#import product_subgroup
#elif WIDE
#import product_wide
#else
#import product_tiled
#endif
