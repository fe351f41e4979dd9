// SPDX-License-Identifier: Apache-2.0
// What the runtime itself runs on a GPU, in the same image as a model's kernels; against cuda_prelude.cuh only.
// tgf_zero_rows: of each of s0 pieces of s1 rows of s2 bytes at b0, the rows from number ((const int *)b1)[piece] on
// become zeros. Counts below 0 count as 0, counts beyond s1 as s1. Any grid, blocks of 256.
extern "C" __global__ void __launch_bounds__(256) tgf_zero_rows(char *b0, char *b1, i64 s0, i64 s1, i64 s2) {
    for (i64 piece = blockIdx.x; piece < s0; piece += gridDim.x) {
        i64 count = gload((const int *)b1 + piece);
        count = count < 0 ? 0 : count > s1 ? s1 : count;
        char *to = b0 + (piece * s1 + count) * s2;
        i64 bytes = (s1 - count) * s2;
        u64 odd = (u64)to | (u64)bytes;
        if (odd % 4 == 0)
            for (i64 i = threadIdx.x; i < bytes / 4; i += 256) gstore((u32 *)to + i, 0u);
        else if (odd % 2 == 0)
            for (i64 i = threadIdx.x; i < bytes / 2; i += 256) gstore((u16 *)to + i, (u16)0);
        else
            for (i64 i = threadIdx.x; i < bytes; i += 256) gstore((u8 *)to + i, (u8)0);
    }
}
