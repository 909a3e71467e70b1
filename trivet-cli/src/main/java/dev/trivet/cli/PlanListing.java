package dev.trivet.cli;

import dev.trivet.model.VitModel;
import dev.trivet.ptq.OperatorPlan;
import dev.trivet.ptq.QuantizationPlan;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** What {@code quantize --plan-only} prints: every operator with its bits, granularity and kernel, before any work. */
record PlanListing(VitModel model, QuantizationPlan plan, MethodOptions method) {
    void print(CommonOptions common) {
        Map<String, Object> fields = new LinkedHashMap<>();
        fields.put("method", method.method.toString());
        List<Map<String, Object>> rows = new ArrayList<>();
        for (Map<String, Object> row : PlanFile.rows(plan)) {
            OperatorPlan operator = plan.operator(String.valueOf(row.get("operator")));
            row.put("weights_per", granularity(operator));
            row.put("activations", grid(operator));
            row.put("kernel", kernel(operator));
            rows.add(row);
        }
        fields.put("operators", rows);
        common.print(fields, () -> {
            Table table = new Table("operator", "weights", "per", "activations", "grid", "kernel");
            for (OperatorPlan operator : plan.operators()) {
                table.row(
                        operator.operator(),
                        operator.weightBits() == 0 ? "" : operator.weightText(),
                        granularity(operator),
                        String.valueOf(operator.activationBits()),
                        grid(operator),
                        kernel(operator));
            }
            table.print(common.out());
            common.out()
                    .println("edit it: quantize --plan-only --json > plan.json, then quantize --plan plan.json; 32"
                            + " bits leave an operator in float");
        });
    }

    private String granularity(OperatorPlan operator) {
        if (operator.weightBits() == 0 || operator.isFloat()) {
            return "";
        }
        boolean channel =
                method.method == MethodOptions.Method.TRIVET || method.granularity == MethodOptions.Granularity.CHANNEL;
        return channel ? "channel" : operator.operator().endsWith(".attn.qkv") ? "matrix" : "tensor";
    }

    private String grid(OperatorPlan operator) {
        if (operator.isFloat()) {
            return "float";
        }
        if (operator.weightBits() == 0) {
            return method.method == MethodOptions.Method.TRIVET && !method.noLevels && operator.activationBits() < 8
                    ? "symmetric or levels"
                    : "symmetric";
        }
        if (method.method == MethodOptions.Method.LIU2021) {
            return method.grid.toString();
        }
        return method.noLevels || operator.activationBits() >= 8 ? "asymmetric" : "asymmetric or levels";
    }

    private static String kernel(OperatorPlan operator) {
        if (operator.isFloat()) {
            return "f32";
        }
        String bytes = operator.operator().endsWith(".attn.qk") ? "s8s8" : "u8s8";
        int products = (operator.activationBits() > 8 ? 2 : 1)
                * (operator.weightBits() > 8 || (operator.weightBits() == 0 && operator.activationBits() > 8) ? 2 : 1);
        return products == 1 ? bytes : bytes + " x " + products + " (two digits)";
    }
}
