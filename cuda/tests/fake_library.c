/* A library of CUDA without functions. */
int vatic_fake_library;
