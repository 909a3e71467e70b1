package dev.trivet.cli.bench;

import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.trivet.BadInputException;
import dev.trivet.kernel.VectorKernels;
import dev.trivet.model.RandomModel;
import dev.trivet.model.VitModel;
import dev.trivet.onnx.OnnxRuntime;
import dev.trivet.onnx.OnnxSession;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;

class LineupTest {
    /** What is said is why, not what closing the rest ran into. */
    @Test
    void saysWhyThePeerRefuses() {
        VitModel model = RandomModel.of("deit_tiny_patch16_32", 1);
        OnnxRuntime refusing = new OnnxRuntime() {
            @Override
            public String description() {
                return "peer";
            }

            @Override
            public List<OnnxSession> open(Path file, int batch, int threads, int callers) {
                throw new BadInputException(file, "is refused", "give another");
            }
        };
        Path file = Path.of("model.onnx");
        assertThatThrownBy(() -> new Lineup(
                        List.of(new Lineup.Subject("m", model, Optional.of(file))),
                        new VectorKernels(),
                        Optional.of(refusing),
                        1,
                        1))
                .isInstanceOf(BadInputException.class)
                .hasMessageContaining("model.onnx: is refused; give another");
    }
}
