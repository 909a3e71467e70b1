package dev.trivet.train;

import java.util.Map;
import java.util.Optional;
import java.util.TreeMap;
import org.bytedeco.javacpp.PointerScope;
import org.bytedeco.pytorch.Scalar;
import org.bytedeco.pytorch.Tensor;

/** Clips the gradient and takes the step, by the update rule of the settings. For one thread. */
final class Optimizer implements AutoCloseable {
    private final Tensor gradients;
    private final double gradientClip;
    private final Optional<Muon> muon;
    private final AdamW adamW;

    Optimizer(TrainableModel model, TrainingSettings.Steps settings) {
        Parameters parameters = model.parameters();
        gradients = parameters.gradients();
        gradientClip = settings.gradientClip();
        ParameterLayout layout = parameters.layout();
        float[] decays = layout.decays();
        if (settings.rule() == UpdateRule.MUON) {
            for (ParameterLayout.MatrixGroup group : layout.matrixGroups()) {
                for (int i = 0; i < group.count(); i++) {
                    int from = group.offset() + i * group.stride();
                    java.util.Arrays.fill(decays, from, from + Math.toIntExact(group.rows() * group.columns()), 0f);
                }
            }
            muon = Optional.of(new Muon(parameters.values(), gradients, layout, settings.weightDecay()));
        } else {
            muon = Optional.empty();
        }
        adamW = new AdamW(parameters.values(), gradients, decays, settings.weightDecay());
    }

    /**
     * Moves the parameters, unless the gradient is not finite.
     *
     * @return the norm of the gradient before clipping
     */
    double step(double rate) {
        try (PointerScope _ = new PointerScope()) {
            double norm = gradients.norm().item_double();
            if (!Double.isFinite(norm)) {
                return norm;
            }
            if (norm > gradientClip) {
                // The small term is PyTorch's, in clip_grad_norm_.
                gradients.mul_(new Scalar(gradientClip / (norm + 1e-6)));
            }
            muon.ifPresent(rule -> rule.step(rate));
            adamW.step(rate);
            return norm;
        }
    }

    long steps() {
        return adamW.steps();
    }

    void steps(long taken) {
        adamW.steps(taken);
    }

    /** What a checkpoint must keep besides the parameters and the number of steps. */
    Map<String, Tensor> state() {
        Map<String, Tensor> state = new TreeMap<>();
        state.put("adamw.mean", adamW.mean());
        state.put("adamw.variance", adamW.variance());
        muon.ifPresent(rule -> state.put("muon.momentum", rule.momentum()));
        return state;
    }

    @Override
    public void close() {
        muon.ifPresent(Muon::close);
        adamW.close();
    }
}
