package dev.trivet.runtime;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.model.LinearLayer;
import dev.trivet.quant.ActivationQuantizer;
import java.lang.foreign.MemorySegment;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class CodeSumsTest {
    private static LinearLayer.Quantized layer(int outputs, int inputs, int bits, int highestInput) {
        int bytes = bits > 8 ? 2 : 1;
        MemorySegment codes = MemorySegment.ofArray(new byte[outputs * inputs * bytes]);
        int half = 1 << (bits - 1);
        Random random = new Random(outputs);
        for (int i = 0; i < outputs * inputs; i++) {
            int code = random.nextInt(-half, half);
            if (bytes == 2) {
                codes.set(LinearLayer.Quantized.CODE, 2L * i, (short) code);
            } else {
                codes.set(java.lang.foreign.ValueLayout.JAVA_BYTE, i, (byte) code);
            }
        }
        return new LinearLayer.Quantized(
                "layer",
                outputs,
                inputs,
                bits,
                codes,
                new float[] {1},
                new float[outputs],
                new ActivationQuantizer(1, 0, 0, highestInput));
    }

    /** Rows that share a look, rows that are longer than one, and a last look that is not full. */
    @ParameterizedTest
    @CsvSource({"7, 5, 8, 255", "2000, 300, 8, 255", "3, 300000, 8, 15", "2000, 300, 10, 1023", "5, 3, 2, 255"})
    void areTheSumsOfEachChannel(int outputs, int inputs, int bits, int highestInput) {
        LinearLayer.Quantized layer = layer(outputs, inputs, bits, highestInput);
        int[] sums = CodeSums.of(layer);
        assertThat(sums).hasSize(outputs);
        for (int n = 0; n < outputs; n++) {
            int sum = 0;
            for (int k = 0; k < inputs; k++) {
                sum += layer.code((long) n * inputs + k);
            }
            assertThat(sums[n]).as("channel " + n).isEqualTo(sum);
        }
    }

    @Test
    void refusesWhatCouldOverflow() {
        assertThatThrownBy(() -> CodeSums.of(layer(2, 20_000, 10, 1023)))
                .isInstanceOf(IllegalArgumentException.class)
                .hasMessageContaining("do not fit 32 bits");
    }
}
