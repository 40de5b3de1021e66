// Loads of matmul.wgsl's sides, which it declares in the types that the flags name.
#if NATIVE
fn lhs_four(i: u32) -> Four { return lhs[i]; }
#elif LHS_HALF4
fn lhs_four(i: u32) -> vec4f { return unpack_four(lhs[i]); }
#elif LHS_HALF
fn lhs_one(i: u32) -> f32 { return unpack_one(lhs[i / 2u], i); }
#elif LHS4
fn lhs_four(i: u32) -> vec4f { return lhs[i]; }
#else
fn lhs_one(i: u32) -> f32 { return lhs[i]; }
#endif
#if NATIVE
fn rhs_four(i: u32) -> Four { return rhs[i]; }
#elif RHS_HALF4
fn rhs_four(i: u32) -> vec4f { return unpack_four(rhs[i]); }
#elif RHS_HALF
fn rhs_one(i: u32) -> f32 { return unpack_one(rhs[i / 2u], i); }
#elif K4
fn rhs_four(i: u32) -> vec4f { return rhs[i]; }
#elif RHS4
fn rhs_four(i: u32) -> vec4f { return rhs[i]; }
#else
fn rhs_one(i: u32) -> f32 { return rhs[i]; }
#endif

var<private> first_col: u32;
var<private> rhs_now: u32; // next position of rhs_at
fn columns(cols: vec4u) {
    first_col = cols.x;
}

#if LHS4
fn lhs4_index(row: u32, k: u32) -> u32 {
    return batch * (dims.lhs_batch / 4u) + row * (dims.k / 4u) + k / 4u;
}
fn rows4_index(row: u32, k: u32) -> u32 {
    return (batch * dims.lhs_batch + k * dims.m + row) / 4u;
}
fn lhs4_at(row: u32, k: u32) -> Four {
    return lhs_four(lhs4_index(row, k));
}
fn rows4_at(row: u32, k: u32) -> Four {
    return lhs_four(rows4_index(row, k));
}
#else
fn lhs_at(row: u32, k: u32) -> f32 {
    if (LAYOUT == 2u) {
        return lhs_one(batch * dims.lhs_batch + k * dims.m + row);
    }
    return lhs_one(batch * dims.lhs_batch + row * dims.k + k);
}
#endif

#if K4
fn seek(k: u32) {}
fn advance() {}
fn rhs4_index(col: u32, k: u32) -> u32 {
    return batch * (dims.rhs_batch / 4u) + col * (dims.k / 4u) + k / 4u;
}
fn rhs4_at(col: u32, k: u32) -> Four {
    return rhs_four(rhs4_index(col, k));
}
// STEADY, see product_loads.wgsl.
fn rhs_start(place: vec2u, first_col: u32, n: u32, k: u32) -> u32 {
    return rhs4_index(min(first_col + place.x, n - 1u), k + 4u * place.y);
}
#elif RHS4
fn rhs_start(place: vec2u, first_col: u32, n: u32, k: u32) -> u32 {
    return (batch * dims.rhs_batch + (k + place.y) * dims.rhs_row + min(first_col + 4u * place.x, n - 4u)) / 4u;
}
// A pointer that moves is cheaper than a product for each k.
fn seek(k: u32) {
    rhs_now = (batch * dims.rhs_batch + k * dims.rhs_row + first_col) / 4u;
}
fn advance() {
    rhs_now += dims.rhs_row / 4u;
}
fn rhs_at(k: u32, cols: vec4u) -> Four {
    return rhs_four(rhs_now);
}
#else
fn seek(k: u32) {}
fn advance() {}
fn rhs_at(k: u32, cols: vec4u) -> vec4f {
    var at = batch * dims.rhs_batch + k * dims.n + cols;
    if (LAYOUT == 1u) {
        at = batch * dims.rhs_batch + cols * dims.k + k;
    }
    return vec4f(rhs_one(at.x), rhs_one(at.y), rhs_one(at.z), rhs_one(at.w));
}
#endif
#if LHS_K4
fn lhs_start(place: vec2u, first_row: u32, m: u32, k: u32) -> u32 {
    return lhs4_index(min(first_row + place.x, m - 1u), k + 4u * place.y);
}
#elif LHS_R4
fn lhs_start(place: vec2u, first_row: u32, m: u32, k: u32) -> u32 {
    return rows4_index(min(first_row + 4u * place.x, m - 4u), k + place.y);
}
#endif
