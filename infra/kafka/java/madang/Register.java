package madang;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import org.apache.kafka.metadata.authorizer.StandardAuthorizer;
import org.apache.kafka.server.authorizer.Action;
import org.apache.kafka.server.authorizer.AuthorizableRequestContext;
import org.apache.kafka.server.authorizer.AuthorizationResult;

/**
 * Kafka's own authorizer, which also writes down what was allowed, each once: the client's id, the operation, the
 * resource's type and its name, with tabs between. So tests know which function does what, although all of them sign in
 * as one user.
 */
public final class Register extends StandardAuthorizer {
    private final Set<String> written = ConcurrentHashMap.newKeySet();
    private Path file;

    @Override
    public void configure(Map<String, ?> configuration) {
        super.configure(configuration);
        file = Path.of(configuration.get("madang.register").toString());
    }

    @Override
    public List<AuthorizationResult> authorize(AuthorizableRequestContext context, List<Action> actions) {
        List<AuthorizationResult> results = super.authorize(context, actions);
        for (int at = 0; at < results.size(); at++) {
            if (results.get(at) == AuthorizationResult.ALLOWED) {
                write(context.clientId(), actions.get(at));
            }
        }
        return results;
    }

    private void write(String client, Action action) {
        String line = String.join("\t", client, action.operation().name(),
            action.resourcePattern().resourceType().name(), action.resourcePattern().name()) + "\n";
        if (!written.add(line)) {
            return;
        }
        try {
            Files.writeString(file, line, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
        } catch (IOException error) {
            throw new UncheckedIOException(error);
        }
    }
}
