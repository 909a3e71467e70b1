package dev.trivet.train;

import static org.bytedeco.pytorch.global.torch.cross_entropy;
import static org.bytedeco.pytorch.global.torch.kl_div;
import static org.bytedeco.pytorch.global.torch.log_softmax;

import dev.trivet.train.TrainingSettings.Distillation;
import dev.trivet.train.TrainingSettings.Distillation.Targets;
import java.util.Optional;
import org.bytedeco.pytorch.CrossEntropyLossOptions;
import org.bytedeco.pytorch.LongOptional;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/**
 * What is minimised, the mean over images of
 *
 * <pre>
 *   (1 - a) CE(labels, smoothed) + a D
 *   D = CE(argmax t)                               hard
 *       T^2 KL(softmax(t / T) || softmax(z / T))   soft
 *       half of each                               both
 * </pre>
 *
 * with logits z, a teacher's logits t, and the weight a and temperature T of the {@link Distillation} (Hinton et al., 2015; hard targets as in
 * DeiT, but for the one head that there is). What {@link Features} add is asked for apart. Safe to use from several threads.
 */
final class Objective implements AutoCloseable {
    private static final long SUM = 2;

    private final Distillation distillation;
    private final CrossEntropyLossOptions smoothed = new CrossEntropyLossOptions();

    Objective(double labelSmoothing, Distillation distillation) {
        this.distillation = distillation;
        smoothed.label_smoothing().put(labelSmoothing);
    }

    /**
     * The loss.
     *
     * @param logits {@code [images, classes]}
     * @param labels {@code [images]}, or probabilities {@code [images, classes]}
     * @param teacher {@code [images, classes]}; empty where there is no teacher, and then only labels count
     */
    Tensor loss(Tensor logits, Tensor labels, Optional<Tensor> teacher) {
        Tensor ofLabels = cross_entropy(logits, labels, smoothed);
        if (teacher.isEmpty() || distillation.targets() == Targets.NONE) {
            return ofLabels;
        }
        Tensor ofTeacher = switch (distillation.targets()) {
            case NONE, HARD -> hard(logits, teacher.get());
            case SOFT -> soft(logits, teacher.get());
            case BOTH ->
                hard(logits, teacher.get()).add(soft(logits, teacher.get())).mul(new Scalar(0.5));
        };
        double weight = distillation.weight();
        return ofLabels.mul(new Scalar(1 - weight)).add(ofTeacher.mul(new Scalar(weight)));
    }

    /**
     * What is added to the loss for blocks that compute otherwise than the teacher's.
     *
     * @param own of some images
     * @param teacher its of the same images
     */
    Tensor ofFeatures(Features own, Features teacher) {
        Tensor ofAttention = own.attentionLoss(teacher).mul(new Scalar(distillation.attention()));
        return ofAttention.add(own.streamLoss(teacher).mul(new Scalar(distillation.features())));
    }

    private static Tensor hard(Tensor logits, Tensor teacher) {
        return cross_entropy(logits, teacher.argmax(new LongOptional(1), false));
    }

    private Tensor soft(Tensor logits, Tensor teacher) {
        double temperature = distillation.temperature();
        Scalar inverse = new Scalar(1 / temperature);
        Tensor own = log_softmax(logits.mul(inverse), 1);
        Tensor wanted = log_softmax(teacher.mul(inverse), 1);
        return kl_div(own, wanted, SUM, true).mul(new Scalar(temperature * temperature / logits.size(0)));
    }

    @Override
    public void close() {
        smoothed.close();
    }
}
