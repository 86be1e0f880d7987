/* A driver that only counts: stands in for libcuda.so.1 on a machine without a GPU. */
int cuInit(unsigned flags) { return flags == 0 ? 0 : 1; }
int cuDeviceGetCount(int *count) { *count = 3; return 0; }
int cuDriverGetVersion(int *version) { *version = 13000; return 0; }
