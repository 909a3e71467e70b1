package dev.trivet.cli.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import org.junit.jupiter.api.Test;

class OperatorTimesTest {
    private static OperatorTimes.Kind kind(String... frames) {
        StackTraceElement[] stack = new StackTraceElement[frames.length];
        for (int i = 0; i < frames.length; i++) {
            int dot = frames[i].lastIndexOf('.');
            stack[i] = new StackTraceElement(frames[i].substring(0, dot), frames[i].substring(dot + 1), null, -1);
        }
        return OperatorTimes.kind(stack);
    }

    /** The innermost frame that says something decides; the JDK's own say nothing. */
    @Test
    void goesByTheInnermostFrame() {
        assertThat(kind(
                        "jdk.internal.foreign.abi.Invoker.softmaxLike",
                        "dev.trivet.kernel.OnednnLibrary.execute",
                        "dev.trivet.kernel.OnednnLinear.run",
                        "dev.trivet.runtime.BlockRun.mlp"))
                .isEqualTo(OperatorTimes.Kind.LINEAR_PRODUCTS);
        assertThat(kind("dev.trivet.kernel.OnednnMatmul.run", "dev.trivet.runtime.BlockRun.attention"))
                .isEqualTo(OperatorTimes.Kind.ATTENTION_PRODUCTS);
        assertThat(kind("dev.trivet.kernel.VectorGemm.run", "dev.trivet.kernel.VectorKernels$PackingMatmul.run"))
                .isEqualTo(OperatorTimes.Kind.ATTENTION_PRODUCTS);
        assertThat(kind("dev.trivet.kernel.ReferenceKernels$1.run", "dev.trivet.runtime.BlockRun.product"))
                .isEqualTo(OperatorTimes.Kind.LINEAR_PRODUCTS);
        assertThat(kind("dev.trivet.kernel.VectorPointwise.erf", "dev.trivet.kernel.VectorPointwise.gelu"))
                .isEqualTo(OperatorTimes.Kind.GELU);
        assertThat(kind("dev.trivet.kernel.VectorPointwise.layerNorm")).isEqualTo(OperatorTimes.Kind.LAYER_NORM);
        assertThat(kind("dev.trivet.kernel.VectorPointwise.softmaxNumerators")).isEqualTo(OperatorTimes.Kind.SOFTMAX);
    }

    @Test
    void countsTheRestAsOther() {
        assertThat(kind("dev.trivet.kernel.VectorPointwise.splitHeads", "dev.trivet.runtime.VitSession.run"))
                .isEqualTo(OperatorTimes.Kind.OTHER);
        assertThat(kind("java.lang.Thread.run")).isEqualTo(OperatorTimes.Kind.OTHER);
    }

    @Test
    void aFailureIsNotWaitedFor() {
        Contender.Caller failing = new Contender.Caller() {
            @Override
            public void run() {
                throw new IllegalStateException("broken");
            }

            @Override
            public void close() {}
        };
        assertThatThrownBy(() -> OperatorTimes.sample(failing, 60)).hasRootCauseMessage("broken");
    }

    @Test
    void sharesAddUpToOne() throws InterruptedException {
        Contender.Caller idle = new Contender.Caller() {
            @Override
            public void run() {
                Thread.onSpinWait();
            }

            @Override
            public void close() {}
        };
        assertThat(OperatorTimes.sample(idle, 0.01)).containsOnlyKeys("other").containsEntry("other", 1.0);
    }
}
