//! Pools of known libraries, which keep memory for reuse: what they are called, and what makes them keep
//! less.

use crate::model::frame::Frame;

struct Pool {
    /// Parts of the names of its functions.
    functions: &'static [&'static str],
    /// Beginnings of the names of files whose functions have no symbols. Not all of their blocks are the pool's.
    files: &'static [&'static str],
    name: &'static str,
    remedy: &'static str,
}

const POOLS: [Pool; 5] = [
    Pool {
        functions: &["onnxruntime::BFCArena"],
        files: &["libonnxruntime.so", "onnxruntime_pybind11_state"],
        name: "ONNX Runtime's arena",
        remedy: "`enable_cpu_mem_arena = False` in the session's options turns it off",
    },
    Pool {
        functions: &["tsl::BFCAllocator", "tensorflow::BFCAllocator"],
        files: &[],
        name: "TensorFlow's BFC allocator",
        remedy: "`TF_CPU_ALLOCATOR_USE_BFC=false` turns it off for memory of the host",
    },
    Pool {
        functions: &["CUDACachingAllocator", "CachingHostAllocator"],
        files: &[],
        name: "PyTorch's caching allocator",
        remedy: "`torch.cuda.empty_cache()` empties it, `PYTORCH_NO_CUDA_MEMORY_CACHING=1` turns it off",
    },
    Pool {
        functions: &[
            "dnnl::impl::primitive_cache",
            "dnnl::impl::lru_primitive_cache",
        ],
        files: &[],
        name: "oneDNN's cache of primitives",
        remedy: "`ONEDNN_PRIMITIVE_CACHE_CAPACITY` bounds it, and 0 turns it off",
    },
    Pool {
        functions: &["mkl_serv_allocate", "mkl_serv_malloc"],
        files: &[],
        name: "MKL's pool of buffers",
        remedy: "`MKL_DISABLE_FAST_MM=1` turns it off",
    },
];

/// What to know about the pool that has allocated with this stack; `None` if it is none that is known.
pub(super) fn of(stack: &[Frame]) -> Option<String> {
    const KEEPS: &str =
        "keeps the most that it has needed, which is no leak if the same work again adds nothing";
    let has = |is: &dyn Fn(&str) -> bool| stack.iter().any(|frame| is(&frame.function));
    POOLS.iter().find_map(|pool| {
        let Pool { name, remedy, .. } = pool;
        if has(&|function| pool.functions.iter().any(|part| function.contains(part))) {
            return Some(format!("{name} {KEEPS}; {remedy}"));
        }
        has(&|function| pool.files.iter().any(|file| function.starts_with(file)))
            .then(|| format!("this may be {name}, which {KEEPS}; {remedy}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::frame::Owner;

    fn of_functions(functions: &[&str]) -> Option<String> {
        let frame = |function: &&str| Frame {
            function: (*function).into(),
            file: None,
            line: None,
            owner: Owner::Dependency,
        };
        of(&functions.iter().map(frame).collect::<Vec<_>>())
    }

    #[test]
    fn a_pool_is_known_by_its_functions() {
        let what = of_functions(&[
            "operator new",
            "onnxruntime::BFCArena::Extend(unsigned long)",
            "run",
        ]);
        let what = what.unwrap();
        assert!(what.starts_with("ONNX Runtime's arena keeps"), "{what}");
        assert!(what.contains("enable_cpu_mem_arena"), "{what}");
    }

    #[test]
    fn without_symbols_it_may_be_the_pool_of_its_library() {
        let what = of_functions(&["libonnxruntime.so.1.20.0+0x1234"]).unwrap();
        assert!(
            what.starts_with("this may be ONNX Runtime's arena"),
            "{what}"
        );
    }

    #[test]
    fn other_functions_are_of_no_pool() {
        assert_eq!(
            of_functions(&["onnxruntime::InferenceSession::Load", "main"]),
            None
        );
        assert_eq!(of_functions(&[]), None);
    }
}
