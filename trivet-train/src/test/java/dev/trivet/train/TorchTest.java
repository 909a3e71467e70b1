package dev.trivet.train;

import static org.assertj.core.api.Assertions.assertThat;

import org.junit.jupiter.api.Test;

class TorchTest {
    private static final String AVX512 = "fpu avx2 avx512f avx512dq avx512cd avx512bw avx512vl";

    private static String cpuInfo(String vendor, int family, String flags) {
        String first = "processor\t: 0\nvendor_id\t: " + vendor + "\ncpu family\t: " + family
                + "\nmodel name\t:\nflags\t\t: " + flags + "\n";
        return first + "\n" + first.replace("processor\t: 0", "processor\t: 1").replace(flags, "fpu");
    }

    @Test
    void namesKernelsWhereOpenBlasDoesNotKnowTheProcessor() {
        assertThat(Torch.coreType(cpuInfo("AuthenticAMD", 26, AVX512))).contains("SKYLAKEX");
    }

    @Test
    void leavesTheChoiceToOpenBlasElsewhere() {
        assertThat(Torch.coreType(cpuInfo("AuthenticAMD", 25, AVX512))).isEmpty();
        assertThat(Torch.coreType(cpuInfo("GenuineIntel", 26, AVX512))).isEmpty();
        assertThat(Torch.coreType(cpuInfo("AuthenticAMD", 26, AVX512.replace("avx512bw", "avx512_bf16"))))
                .isEmpty();
        assertThat(Torch.coreType("CPU implementer\t: 0x41\n")).isEmpty();
        assertThat(Torch.coreType("")).isEmpty();
    }
}
