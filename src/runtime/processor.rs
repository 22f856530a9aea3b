//! What this processor can do, and which of libtorch's kernels run because of it.

/// Instruction sets of this processor that matter to libtorch's kernels or ours.
pub(super) fn cpu_features() -> Vec<&'static str> {
    #[cfg(any(target_arch = "x86", target_arch = "x86_64"))]
    let known = [
        ("avx", is_x86_feature_detected!("avx")),
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512vl", is_x86_feature_detected!("avx512vl")),
        ("avx512dq", is_x86_feature_detected!("avx512dq")),
        ("avx512vnni", is_x86_feature_detected!("avx512vnni")),
        ("avx512bf16", is_x86_feature_detected!("avx512bf16")),
    ];
    #[cfg(target_arch = "aarch64")]
    let known = [
        ("neon", std::arch::is_aarch64_feature_detected!("neon")),
        ("bf16", std::arch::is_aarch64_feature_detected!("bf16")),
        ("sve", std::arch::is_aarch64_feature_detected!("sve")),
    ];
    #[cfg(not(any(target_arch = "x86", target_arch = "x86_64", target_arch = "aarch64")))]
    let known: [(&str, bool); 0] = [];
    known.into_iter().filter_map(|(name, detected)| detected.then_some(name)).collect()
}

/// The instruction set that libtorch's kernels are chosen for, as `torch.backends.cpu.get_cpu_capability()` calls it
/// (`AVX512`, `AVX2`, `DEFAULT`): results round differently with each. `None` on processors other than x86-64.
///
/// Source: `aten/src/ATen/native/DispatchStub.cpp`, with its environment variable `ATEN_CPU_CAPABILITY`.
pub fn cpu_capability() -> Option<&'static str> {
    #[cfg(target_arch = "x86_64")]
    {
        match std::env::var("ATEN_CPU_CAPABILITY").as_deref() {
            Ok("avx512") => return Some("AVX512"),
            Ok("avx2") => return Some("AVX2"),
            Ok("default") => return Some("DEFAULT"),
            _ => {}
        }
        let avx512 = is_x86_feature_detected!("avx512vl")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq");
        let fma = is_x86_feature_detected!("fma");
        Some(match (avx512 && fma, is_x86_feature_detected!("avx2") && fma) {
            (true, _) => "AVX512",
            (false, true) => "AVX2",
            (false, false) => "DEFAULT",
        })
    }
    #[cfg(not(target_arch = "x86_64"))]
    None
}
