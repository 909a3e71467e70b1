package dev.trivet.tensor;

import dev.trivet.BadInputException;
import dev.trivet.tensor.PickleValue.Dict;
import dev.trivet.tensor.PickleValue.Opaque;
import dev.trivet.tensor.PickleValue.View;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.ConcurrentHashMap;
import java.util.stream.Collectors;

/**
 * A file that {@code torch.save} wrote (PyTorch 1.6 or later: a zip file), memory-mapped: a state dict, or a dict that holds one
 * under {@code model}, {@code state_dict}, {@code model_ema} or {@code state_dict_ema}, the first of these. What
 * stands beside the state dict is skipped. No pickle code is run (see {@link PickleReader}).
 *
 * <p>{@code module.} (DataParallel) and {@code _orig_mod.} (torch.compile) are taken off the names where all begin so. Tensors
 * that are stored row-major are slices of the mapping; others are copied on each {@link #find}. Safe to read from several
 * threads. Tensors must not be used after {@link #close()}.
 */
public final class TorchFile implements TensorFile {
    private static final List<String> HOLDERS = List.of("model", "state_dict", "model_ema", "state_dict_ema");
    private static final List<String> WRAPPERS = List.of("module.", "_orig_mod.");
    private static final int NAMED = 5;

    private final Path file;
    private final Arena arena;
    private final TorchArchive archive;
    private final Map<String, StridedView> views = new LinkedHashMap<>();
    /** Entries that are no tensors but might have been meant as such. */
    private final Map<String, String> others = new LinkedHashMap<>();
    /** Storages already read, and so with checked sums. */
    private final Map<String, MemorySegment> storages = new ConcurrentHashMap<>();

    private TorchFile(Path file, Arena arena, TorchArchive archive, Map<String, PickleValue> entries) {
        this.file = file;
        this.arena = arena;
        this.archive = archive;
        String prefix = wrapping(entries);
        entries.forEach((name, value) -> {
            String bare = name.startsWith(prefix) ? name.substring(prefix.length()) : name;
            if (value instanceof View tensor) {
                views.put(bare, tensor.view());
            } else if (value instanceof Opaque) {
                others.put(bare, value.kind());
            }
        });
    }

    /** What wrappers put before every tensor's name. */
    private static String wrapping(Map<String, PickleValue> entries) {
        List<String> names = entries.entrySet().stream()
                .filter(e -> e.getValue() instanceof View)
                .map(Map.Entry::getKey)
                .toList();
        int length = 0;
        boolean found = true;
        while (found) {
            found = false;
            for (String wrapper : WRAPPERS) {
                int start = length;
                if (names.stream().allMatch(name -> name.startsWith(wrapper, start))) {
                    length += wrapper.length();
                    found = true;
                }
            }
        }
        return names.getFirst().substring(0, length);
    }

    /**
     * Maps a file and checks everything but the values.
     *
     * @throws BadInputException if it cannot be read, is not sound, holds no state dict, or asks for anything beyond what a
     *     state dict needs
     */
    public static TorchFile open(Path file) {
        MappedFile mapped = MappedFile.open(file, ".pth or .pt file");
        try {
            TorchArchive archive = TorchArchive.read(mapped.arena(), mapped.bytes());
            Map<String, PickleValue> entries = stateDict(PickleReader.read(archive.pickle()));
            for (PickleValue value : entries.values()) {
                if (value instanceof View tensor) {
                    PickleValue.Storage storage = tensor.view().storage();
                    archive.checkStorage(storage.key(), storage.bytes());
                }
            }
            return new TorchFile(file, mapped.arena(), archive, entries);
        } catch (MalformedTorchException e) {
            mapped.close();
            throw new BadInputException(file, e.reason(), e.remedy(), e);
        } catch (RuntimeException | Error e) {
            mapped.close();
            throw e;
        }
    }

    private static Map<String, PickleValue> stateDict(PickleValue root) throws MalformedTorchException {
        String remedy = "save the model's state dict, or a dict with it under \"model\" or \"state_dict\"";
        if (!(root instanceof Dict dict)) {
            throw new MalformedTorchException("holds " + root.kind() + ", not a state dict", remedy);
        }
        for (String holder : HOLDERS) {
            if (dict.entries().get(holder) instanceof Dict inner && holdsTensors(inner)) {
                return inner.entries();
            }
        }
        if (!holdsTensors(dict)) {
            String names = dict.entries().keySet().stream()
                    .limit(NAMED)
                    .map(SafetensorsHeader::shown)
                    .collect(Collectors.joining(", "));
            throw new MalformedTorchException(
                    "holds no state dict" + (names.isEmpty() ? "" : ", only a dict of " + names), remedy);
        }
        return dict.entries();
    }

    private static boolean holdsTensors(Dict dict) {
        return dict.entries().values().stream().anyMatch(View.class::isInstance);
    }

    @Override
    public Path file() {
        return file;
    }

    @Override
    public List<Path> files() {
        return List.of(file);
    }

    @Override
    public List<String> names() {
        return new ArrayList<>(views.keySet());
    }

    /**
     * The tensor of that name, row-major.
     *
     * @throws BadInputException if it has an element type that Trivet does not read, its bytes are damaged, or the entry of that
     *     name is something else than a tensor
     */
    @Override
    public Optional<Tensor> find(String name) {
        StridedView view = views.get(name);
        if (view == null) {
            String other = others.get(name);
            if (other != null) {
                throw new BadInputException(
                        file, "entry " + name + " is " + other + ", not a tensor", "save it as a tensor");
            }
            return Optional.empty();
        }
        DType dtype = DType.named(view.dtype())
                .orElseThrow(() -> new BadInputException(
                        file,
                        "tensor " + name + " has element type " + view.dtype(),
                        "convert it to F32, F16, BF16, I8, U8 or I32"));
        try {
            MemorySegment data = view.rowMajor(storage(view.storage().key()));
            return Optional.of(new Tensor(name, dtype, view.shape(), data));
        } catch (MalformedTorchException e) {
            throw new BadInputException(file, e.reason(), e.remedy(), e);
        }
    }

    private MemorySegment storage(String key) {
        return storages.computeIfAbsent(key, k -> {
            try {
                return archive.storageBytes(k);
            } catch (MalformedTorchException e) {
                throw new BadInputException(file, e.reason(), e.remedy(), e);
            }
        });
    }

    @Override
    public void close() {
        arena.close();
    }
}
