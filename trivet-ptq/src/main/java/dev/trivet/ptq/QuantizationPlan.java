package dev.trivet.ptq;

import dev.trivet.model.Geometry;
import dev.trivet.model.ModelUnit;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * The width of every operator of a model, in execution order. It is made from options, from a bit allocation, or read from a
 * file that a person edited, and nothing else decides about widths.
 */
public record QuantizationPlan(List<OperatorPlan> operators) {
    public QuantizationPlan {
        operators = List.copyOf(operators);
        Set<String> names = new HashSet<>();
        for (OperatorPlan operator : operators) {
            if (!names.add(operator.operator())) {
                throw new IllegalArgumentException("the plan names " + operator.operator() + " twice");
            }
        }
    }

    /**
     * One width for all, another for the two ends.
     *
     * @param edgeBits weights and activations of the patch embedding and the heads
     */
    public static QuantizationPlan uniform(Geometry geometry, int weightBits, int activationBits, int edgeBits) {
        List<OperatorPlan> operators = new ArrayList<>();
        for (ModelUnit unit : geometry.units()) {
            boolean edge = unit instanceof ModelUnit.Embedding || unit instanceof ModelUnit.Head;
            int activation = edge ? edgeBits : activationBits;
            for (String name : unit.operators()) {
                operators.add(new OperatorPlan(name, isProduct(name) ? 0 : edge ? edgeBits : weightBits, activation));
            }
        }
        return new QuantizationPlan(operators);
    }

    /** Every operator of a model that can be quantized, in execution order. */
    public static List<String> names(Geometry geometry) {
        return geometry.units().stream()
                .flatMap(unit -> unit.operators().stream())
                .toList();
    }

    static boolean isProduct(String name) {
        return name.endsWith(".attn.qk") || name.endsWith(".attn.av");
    }

    /**
     * Checks a plan against a model.
     *
     * @throws IllegalArgumentException if it names an operator the model lacks, or lacks one the model has
     */
    public void check(Geometry geometry) {
        Set<String> wanted = new HashSet<>(names(geometry));
        for (OperatorPlan operator : operators) {
            if (!wanted.remove(operator.operator())) {
                throw new IllegalArgumentException("the plan names " + operator.operator() + ", which the model lacks");
            }
            if (isProduct(operator.operator()) != (operator.weightBits() == 0)) {
                throw new IllegalArgumentException("the plan gives " + operator.operator() + " " + operator.weightBits()
                        + " weight bits; products of activations have 0, all others some");
            }
        }
        if (!wanted.isEmpty()) {
            throw new IllegalArgumentException("the plan lacks "
                    + names(geometry).stream()
                            .filter(wanted::contains)
                            .findFirst()
                            .orElseThrow()
                    + (wanted.size() > 1 ? " and " + (wanted.size() - 1) + " more" : ""));
        }
    }

    /** @throws IllegalArgumentException if the plan lacks it */
    public OperatorPlan operator(String name) {
        for (OperatorPlan operator : operators) {
            if (operator.operator().equals(name)) {
                return operator;
            }
        }
        throw new IllegalArgumentException("the plan lacks " + name);
    }

    /** The plan with the widths of some modules ({@code blocks.N.attn}, {@code blocks.N.mlp}) replaced. */
    public QuantizationPlan withModuleBits(Map<String, Integer> bits) {
        Map<String, OperatorPlan> changed = new LinkedHashMap<>();
        for (OperatorPlan operator : operators) {
            String name = operator.operator();
            OperatorPlan plan = operator;
            for (Map.Entry<String, Integer> module : bits.entrySet()) {
                if (name.startsWith(module.getKey() + ".") && !operator.isFloat()) {
                    int b = module.getValue();
                    plan = new OperatorPlan(name, isProduct(name) ? 0 : b, b);
                }
            }
            changed.put(name, plan);
        }
        return new QuantizationPlan(List.copyOf(changed.values()));
    }
}
