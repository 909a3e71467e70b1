package dev.trivet.ptq;

import dev.trivet.kernel.Kernels;
import dev.trivet.model.VitModel;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;

/**
 * How much each attention and each MLP module suffers at each width: eq. (18) of Liu et al. 2021,
 *
 * <pre>Omega_i(k) = (sum_j sigma_j(Y_i)) * ||quantized Y_i - Y_i||_2^2</pre>
 *
 * with one module quantized at {@code k} bits and the rest of the model in float. {@code Y_i} is the attention map of an
 * attention module, one head's softmax output at a time with the nuclear norms summed over heads, and the output with bias of
 * an MLP module. Where attention is within windows, a head's map is the block-diagonal matrix of its windows' maps: their nuclear
 * norms add up, and so do their squared perturbations. Rows of padded queries, whose results are dropped, are zero in it. The value is worked out per image and averaged over a few.
 *
 * <p>An attention map shows nothing of what v and the projection lose, though they share the module's width. The paper takes it
 * nevertheless; {@link Perturbation#OUTPUT_FEATURE} takes the module's output instead. Neither is comparable between an attention map
 * and an MLP, or between a block early and late. {@link Perturbation#LOGITS} therefore asks the rest of the float model what becomes
 * of the error: {@code Omega_i(k) = ||logits with module i at k bits - logits||_2^2}, no nuclear norm. All are measured at once.
 *
 * <p>Immutable and safe for use by many threads.
 *
 * @param modules in execution order
 */
public record ModuleSensitivity(List<Module> modules) {
    /** How many images the measurement takes unless told otherwise. */
    public static final int IMAGES = 16;

    /** Copies the list. */
    public ModuleSensitivity {
        modules = List.copyOf(modules);
    }

    /** What a module's error is measured on. */
    public enum Perturbation {
        /** An attention module's softmax output and an MLP module's output, as in the paper. */
        ATTENTION_MAP,
        /** The module's output, an attention module's after the projection. */
        OUTPUT_FEATURE,
        /** The model's output, with everything else in float. */
        LOGITS
    }

    /**
     * A module with its widths.
     *
     * @param name {@code blocks.N.attn} or {@code blocks.N.mlp}
     * @param widths in the order of the candidates
     */
    public record Module(String name, List<Width> widths) {
        /** Copies the list. */
        public Module {
            widths = List.copyOf(widths);
        }
    }

    /**
     * A module at one width.
     *
     * @param bits bits of weights and inputs
     * @param codeBytes bytes of the module's weight codes in a file
     * @param mapOmega eq. (18) on the attention map; of an MLP module, which has none, the same as {@code featureOmega}
     * @param featureOmega eq. (18) on the module's output feature
     * @param logitsOmega squared distance of the model's logits
     */
    public record Width(int bits, long codeBytes, double mapOmega, double featureOmega, double logitsOmega) {
        /** The sensitivity measured on that; larger is worse. */
        public double omega(Perturbation perturbation) {
            return switch (perturbation) {
                case ATTENTION_MAP -> mapOmega;
                case OUTPUT_FEATURE -> featureOmega;
                case LOGITS -> logitsOmega;
            };
        }
    }

    /**
     * Quantizes every module of the float model at every width, alone and on the float model's own inputs, and compares what
     * comes out. The result does not depend on the number of threads.
     *
     * @param images the first {@code mostImages} of them are taken
     * @param method what quantizes by a plan; asked for anew for each module and width, from several threads
     * @param base what is quantized at all; a module whose operators it all leaves in float has no entry in the result
     * @param candidateBits widths from 2 to 10, all different
     * @param listener hears of every module and width
     * @throws IllegalArgumentException if there is no image or no candidate, a width is not known, or the model is quantized
     * @throws dev.trivet.BadInputException if the model's activations overflow
     */
    static ModuleSensitivity measure(
            VitModel model,
            Kernels kernels,
            CalibrationImages images,
            Function<QuantizationPlan, UnitSearch> method,
            QuantizationPlan base,
            int[] candidateBits,
            int mostImages,
            int threads,
            SearchListener listener) {
        if (model.isQuantized()) {
            throw new IllegalArgumentException("the model is quantized already");
        }
        base.check(model.geometry());
        return new SensitivityRun(model, kernels, images, method, base, candidateBits, mostImages, threads, listener)
                .measure();
    }

    /** What an allocation chooses from. */
    public List<BitGroup> groups(Perturbation perturbation) {
        List<BitGroup> groups = new ArrayList<>();
        for (Module module : modules) {
            List<BitOption> options = new ArrayList<>();
            for (Width width : module.widths()) {
                options.add(new BitOption(width.bits(), width.codeBytes(), width.omega(perturbation)));
            }
            groups.add(new BitGroup(module.name(), options));
        }
        return groups;
    }

    /** Eq. (18) summed over the modules of a choice of widths. */
    public double total(Map<String, Integer> bits, Perturbation perturbation) {
        Map<String, BitGroup> byName = new LinkedHashMap<>();
        groups(perturbation).forEach(group -> byName.put(group.name(), group));
        double total = 0;
        for (Map.Entry<String, Integer> choice : bits.entrySet()) {
            BitGroup group = byName.get(choice.getKey());
            if (group == null) {
                throw new IllegalArgumentException("no module " + choice.getKey());
            }
            total += group.options().stream()
                    .filter(option -> option.bits() == choice.getValue())
                    .findFirst()
                    .orElseThrow(() -> new IllegalArgumentException(
                            choice.getKey() + " was not measured at " + choice.getValue() + " bits"))
                    .omega();
        }
        return total;
    }
}
