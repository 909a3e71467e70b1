package dev.trivet.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.bytedeco.pytorch.global.torch.zeros;

import dev.trivet.train.TrainingSettings.Distillation;
import dev.trivet.train.TrainingSettings.Distillation.Targets;
import java.util.Optional;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Tensor;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.condition.DisabledIfSystemProperty;

/** Two classes whose logits differ by ln 3 have probabilities 3/4 and 1/4. */
@DisabledIfSystemProperty(named = "trivet.nopytorch", matches = ".*", disabledReason = "no PyTorch in this build")
class ObjectiveTest {
    private static final double LN3 = Math.log(3);

    private static Tensor logits(double... values) {
        Tensor tensor = zeros(values.length / 2, 2);
        for (int i = 0; i < values.length; i++) {
            Torch.floats(tensor).put(i, (float) values[i]);
        }
        return tensor;
    }

    private static double loss(
            double smoothing, Distillation distillation, Tensor logits, Tensor teacher, int... labels) {
        try (Objective objective = new Objective(smoothing, distillation)) {
            return objective
                    .loss(logits, Torch.longs(labels), Optional.of(teacher))
                    .item_double();
        }
    }

    @Test
    void isSmoothedCrossEntropyWithoutATeacher() {
        try (PointerScope _ = new PointerScope()) {
            // Smoothed targets 0.95 and 0.05; then the mean with an image whose label has probability 1/4.
            double first = -0.95 * Math.log(0.75) - 0.05 * Math.log(0.25);
            double second = -0.05 * Math.log(0.75) - 0.95 * Math.log(0.25);
            double found = loss(0.1, Distillation.NONE, logits(LN3, 0, LN3, 0), logits(0, 9, 0, 9), 0, 1);
            assertThat(found).isCloseTo((first + second) / 2, within(1e-6));
        }
    }

    @Test
    void takesTheTeachersAnswerAsLabel() {
        try (PointerScope _ = new PointerScope()) {
            double found = loss(0, new Distillation(Targets.HARD, 0.25, 1, 0, 0), logits(LN3, 0), logits(0, 1), 0);
            assertThat(found).isCloseTo(-0.75 * Math.log(0.75) - 0.25 * Math.log(0.25), within(1e-6));
        }
    }

    /** KL((1/4, 3/4) || (3/4, 1/4)) = 1/4 ln(1/3) + 3/4 ln 3 = ln(3) / 2; at temperature 2 of doubled logits, four times that. */
    @Test
    void takesTheTeachersProbabilities() {
        try (PointerScope _ = new PointerScope()) {
            assertThat(loss(0, new Distillation(Targets.SOFT, 1, 1, 0, 0), logits(LN3, 0), logits(0, LN3), 0))
                    .isCloseTo(LN3 / 2, within(1e-6));
            assertThat(loss(0, new Distillation(Targets.SOFT, 1, 2, 0, 0), logits(2 * LN3, 0), logits(0, 2 * LN3), 0))
                    .isCloseTo(2 * LN3, within(1e-6));
        }
    }

    @Test
    void takesHalfOfBoth() {
        try (PointerScope _ = new PointerScope()) {
            double hard = -Math.log(0.25);
            assertThat(loss(0, new Distillation(Targets.BOTH, 1, 1, 0, 0), logits(LN3, 0), logits(0, LN3), 0))
                    .isCloseTo((hard + LN3 / 2) / 2, within(1e-6));
        }
    }

    @Test
    void wantsNothingOfATeacherThatItEquals() {
        try (PointerScope _ = new PointerScope()) {
            assertThat(loss(0, new Distillation(Targets.SOFT, 1, 3, 0, 0), logits(LN3, 0), logits(LN3, 0), 0))
                    .isCloseTo(0, within(1e-6));
        }
    }
}
