// Stores unit c of a row of a head that begins at `at` in the importing kernel's `sink`. Elements behind the last are
// left out.
#if VEC4
fn put(at: u32, c: u32, x: vec4f) {
    sink[at + c] = x;
}
#else
fn put(at: u32, c: u32, x: vec4f) {
    let e = 4u * c;
    sink[at + e] = x.x;
    if (e + 1u < HEAD) {
        sink[at + e + 1u] = x.y;
    }
    if (e + 2u < HEAD) {
        sink[at + e + 2u] = x.z;
    }
    if (e + 3u < HEAD) {
        sink[at + e + 3u] = x.w;
    }
}
#endif
