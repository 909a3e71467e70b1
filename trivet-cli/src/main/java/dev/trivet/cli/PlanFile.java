package dev.trivet.cli;

import dev.trivet.BadInputException;
import dev.trivet.model.Geometry;
import dev.trivet.ptq.OperatorPlan;
import dev.trivet.ptq.QuantizationPlan;
import dev.trivet.quant.WeightCoding;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/** A plan as JSON: what {@code quantize --plan-only --json} prints and {@code quantize --plan} takes back. */
final class PlanFile {
    private static final JsonMapper JSON = JsonMapper.builder().build();
    private static final String OPERATOR = "operator";
    private static final String WEIGHTS = "weight_bits";
    private static final String ACTIVATIONS = "activation_bits";

    private PlanFile() {}

    /** The plan's operators, ready to be printed as JSON. */
    static List<Map<String, Object>> rows(QuantizationPlan plan) {
        List<Map<String, Object>> rows = new ArrayList<>();
        for (OperatorPlan operator : plan.operators()) {
            Map<String, Object> row = new LinkedHashMap<>();
            row.put(OPERATOR, operator.operator());
            row.put(WEIGHTS, operator.weights().map(PlanFile::bits).orElseGet(operator::weightBits));
            row.put(ACTIVATIONS, operator.activationBits());
            rows.add(row);
        }
        return rows;
    }

    /** The bits of a weight as JSON has them: a number, or {@code "ternary"}. */
    static Object bits(WeightCoding coding) {
        return coding == WeightCoding.TERNARY ? coding.toString() : coding.bits();
    }

    /** One JSON object on one line. */
    static String json(String method, QuantizationPlan plan) {
        Map<String, Object> document = new LinkedHashMap<>();
        document.put("method", method);
        document.put("operators", rows(plan));
        return JSON.writeValueAsString(document);
    }

    /**
     * Reads a plan for a model. Members that it does not know (kernels, granularity: what a printed plan says beside the bits)
     * are left alone.
     *
     * @throws BadInputException if the file is no plan, or not one for this model
     */
    static QuantizationPlan read(Path file, Geometry geometry) {
        try {
            return parse(Files.readString(file), geometry);
        } catch (IOException e) {
            throw new BadInputException(
                    file, "cannot be read (" + BadInputException.reason(e) + ")", "check the path", e);
        } catch (JacksonException | IllegalArgumentException e) {
            String reason = e instanceof JacksonException json
                    ? String.valueOf(json.getOriginalMessage())
                    : String.valueOf(e.getMessage());
            throw new BadInputException(
                    file,
                    "is no plan for this model (" + reason + ")",
                    "start from what quantize --plan-only --json prints",
                    e);
        }
    }

    /** @throws IllegalArgumentException if the document is no plan for the model */
    static QuantizationPlan parse(String document, Geometry geometry) {
        JsonNode operators = JSON.readTree(document).path("operators");
        if (!operators.isArray()) {
            throw new IllegalArgumentException("it has no list of operators");
        }
        List<OperatorPlan> plans = new ArrayList<>();
        for (JsonNode row : operators) {
            JsonNode weights = row.path(WEIGHTS);
            boolean ternary = weights.isString() && weights.asString().equals(WeightCoding.TERNARY.toString());
            if (!row.path(OPERATOR).isString()
                    || !row.path(ACTIVATIONS).isInt()
                    || !(weights.isInt() || weights.isMissingNode() || ternary)) {
                throw new IllegalArgumentException("an operator lacks its name or its bits: " + row);
            }
            String name = row.path(OPERATOR).asString();
            int activations = row.path(ACTIVATIONS).asInt();
            plans.add(
                    ternary
                            ? new OperatorPlan(name, WeightCoding.TERNARY, activations)
                            : new OperatorPlan(name, weights.asInt(0), activations));
        }
        QuantizationPlan plan = new QuantizationPlan(plans);
        plan.check(geometry);
        return plan;
    }
}
