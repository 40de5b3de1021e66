// Linear grids of 256-wide workgroups. Past 65,535 workgroups the engine wraps them into rows; these undo it.
fn linear_group(workgroup: vec3u, groups: vec3u) -> u32 {
    return workgroup.y * groups.x + workgroup.x;
}
fn linear_index(workgroup: vec3u, groups: vec3u, local: u32) -> u32 {
    return linear_group(workgroup, groups) * 256u + local;
}
