"""Small tools without knowledge of benchmarks: processes, progress bars, paths, terminals."""
