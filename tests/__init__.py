# Networks of tests take longer to compile than to compute. TensorFlow compiles with XLA too.
QUICK_TO_COMPILE = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"
