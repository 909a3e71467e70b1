package dev.trivet.train;

import dev.trivet.model.LinearLayer;
import dev.trivet.model.VitModel;
import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.HexFormat;
import java.util.Map;
import java.util.TreeMap;

/** Fingerprint of a float model's parameters, whatever file they came from. */
final class ParameterDigest {
    private ParameterDigest() {}

    /**
     * SHA-256 over names and values of all parameters in the order of their names, in hexadecimal.
     *
     * @throws IllegalArgumentException if a layer is quantized
     */
    static String of(VitModel model) {
        Map<String, float[]> parameters = new TreeMap<>(model.floats());
        model.linears().forEach((name, layer) -> {
            if (!(layer instanceof LinearLayer.Float32 linear)) {
                throw new IllegalArgumentException(name + " is quantized");
            }
            parameters.put(name + ".weight", linear.weight());
            parameters.put(name + ".bias", linear.bias());
        });
        try {
            MessageDigest digest = MessageDigest.getInstance("SHA-256");
            parameters.forEach((name, values) -> {
                digest.update(name.getBytes(StandardCharsets.UTF_8));
                ByteBuffer bytes = ByteBuffer.allocate(Math.multiplyExact(Float.BYTES, values.length));
                bytes.asFloatBuffer().put(values);
                digest.update(bytes);
            });
            return HexFormat.of().formatHex(digest.digest());
        } catch (NoSuchAlgorithmException e) {
            throw new IllegalStateException("every Java has SHA-256", e);
        }
    }
}
