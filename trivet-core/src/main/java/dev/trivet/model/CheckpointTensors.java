package dev.trivet.model;

import dev.trivet.BadInputException;
import dev.trivet.tensor.Tensor;
import dev.trivet.tensor.TensorSource;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/** The tensors of a file under Trivet's names, whatever they are called there. */
final class CheckpointTensors {
    private static final int NAMED = 3;
    private static final String REMEDY = "check that config.json belongs to these weights";

    private final TensorSource source;
    private final NameScheme scheme;

    CheckpointTensors(TensorSource source) {
        this.source = source;
        scheme = NameScheme.of(source);
    }

    /** The shape of a tensor, its parts joined; empty if one of them is missing or a scalar. */
    Optional<List<Long>> shape(String name) {
        List<Long> joined = new ArrayList<>();
        for (String stored : scheme.stored(name)) {
            Optional<Tensor> part = source.find(stored);
            if (part.isEmpty() || part.get().shape().isEmpty()) {
                return Optional.empty();
            }
            List<Long> shape = part.get().shape();
            if (joined.isEmpty()) {
                joined.addAll(shape);
            } else {
                joined.set(0, joined.getFirst() + shape.getFirst());
            }
        }
        return Optional.of(joined);
    }

    /** Whether any part of a tensor is there. */
    boolean has(String name) {
        return scheme.stored(name).stream()
                .anyMatch(stored -> source.find(stored).isPresent());
    }

    /**
     * Makes sure that the file holds exactly these tensors.
     *
     * @param wanted our names and the shapes
     * @throws BadInputException naming what is missing, unknown, of the wrong shape or not floating
     */
    void check(Map<String, List<Long>> wanted) {
        Set<String> known = new HashSet<>();
        List<String> missing = new ArrayList<>();
        wanted.forEach((name, shape) -> {
            List<String> parts = scheme.stored(name);
            List<Long> share = new ArrayList<>(shape);
            share.set(0, shape.getFirst() / parts.size());
            for (String stored : parts) {
                known.add(stored);
                source.find(stored).ifPresentOrElse(tensor -> check(tensor, share), () -> missing.add(stored));
            }
        });
        List<String> unknown = source.names().stream()
                .filter(name -> !known.contains(name) && !scheme.isDerived(name))
                .toList();
        if (!missing.isEmpty() || !unknown.isEmpty()) {
            String problem = (missing.isEmpty() ? "" : "lacks " + some(missing))
                    + (missing.isEmpty() || unknown.isEmpty() ? "" : " and ")
                    + (unknown.isEmpty() ? "" : "has unknown " + some(unknown));
            throw new BadInputException(source.file(), problem, REMEDY);
        }
    }

    private void check(Tensor tensor, List<Long> shape) {
        if (!tensor.shape().equals(shape)) {
            throw new BadInputException(
                    source.file(),
                    "tensor " + tensor.name() + " has shape " + tensor.shapeText() + " where the config asks for "
                            + shape,
                    REMEDY);
        } else if (!tensor.isFloating()) {
            throw new BadInputException(
                    source.file(),
                    "tensor " + tensor.name() + " is " + tensor.dtype(),
                    "a float model needs F32, F16 or BF16");
        }
    }

    private static String some(List<String> names) {
        String first = String.join(", ", names.subList(0, Math.min(NAMED, names.size())));
        String more = names.size() > NAMED ? " and " + (names.size() - NAMED) + " more" : "";
        return (names.size() == 1 ? "tensor " : "tensors ") + first + more;
    }

    /**
     * Values of a tensor that was checked, in a new array.
     *
     * @throws BadInputException if one of them is not a number
     */
    float[] floats(String name) {
        List<String> parts = scheme.stored(name);
        if (parts.size() == 1) {
            return finite(parts.getFirst());
        }
        List<float[]> values = parts.stream().map(this::finite).toList();
        float[] joined = new float[values.stream().mapToInt(part -> part.length).sum()];
        int at = 0;
        for (float[] part : values) {
            System.arraycopy(part, 0, joined, at, part.length);
            at += part.length;
        }
        return joined;
    }

    private float[] finite(String stored) {
        float[] values = source.find(stored)
                .orElseThrow(() -> new IllegalStateException("unchecked tensor " + stored))
                .toFloats();
        for (float value : values) {
            if (!Float.isFinite(value)) {
                throw new BadInputException(
                        source.file(), "tensor " + stored + " holds " + value, "download or train the weights again");
            }
        }
        return values;
    }
}
