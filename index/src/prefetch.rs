//! Asking the processor to fetch a cache line that will be read soon.

/// Starts fetching the line that `target` lies in. A hint: it changes nothing that a program can see.
#[inline(always)]
pub(crate) fn prefetch<T>(target: &T) {
    let pointer = std::ptr::from_ref(target);
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    // SAFETY: prefetching needs SSE, which every x86-64 has, and never faults, whatever the address.
    #[allow(unused_unsafe)]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(pointer.cast());
    }
    #[cfg(all(target_arch = "aarch64", not(miri)))]
    // SAFETY: PRFM never faults, whatever the address, and changes neither memory nor flags.
    unsafe {
        std::arch::asm!("prfm pldl1keep, [{0}]", in(reg) pointer, options(nostack, preserves_flags, readonly));
    }
    #[cfg(any(miri, not(any(target_arch = "x86_64", target_arch = "aarch64"))))]
    let _ = pointer;
}
