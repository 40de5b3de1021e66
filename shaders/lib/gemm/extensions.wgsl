// Extensions of WGSL that loops on matrix units need. The importing kernel imports them before it declares anything.
#if EMULATED
enable f16;
#elif COOPERATIVE
enable f16;
enable wgpu_cooperative_matrix;
#endif
