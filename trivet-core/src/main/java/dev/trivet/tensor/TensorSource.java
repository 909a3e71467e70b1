package dev.trivet.tensor;

import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/** Tensors by name, from one checkpoint. */
public interface TensorSource {
    /** The file the tensors came from, for messages. */
    Path file();

    /** Names in file order. */
    List<String> names();

    /** A tensor by its name, or nothing if there is none. */
    Optional<Tensor> find(String name);
}
