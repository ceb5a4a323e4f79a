<?php
// Publishes from PHP 8, with nothing but its standard library. See ../README.md for
// APP, KEY and BROKER.
declare(strict_types=1);

$broker = getenv('BROKER') ?: 'http://127.0.0.1:8000';
[$app, $key] = [getenv('APP'), getenv('KEY')];
if (!$app || !$key) {
    exit("APP and KEY must be an application name and its app_key\n");
}

// Sends a request until it is answered for good. A body with a key is stored once,
// however often it is sent; without one the retry after a lost answer may repeat it.
$call = function (string $path, array $body, ?string $once = null) use ($broker, $app, $key): array {
    $headers = ['Authorization: Basic ' . base64_encode("$app:$key"), 'Content-Type: application/json'];
    if ($once !== null) {
        $headers[] = "Idempotency-Key: $once";
    }
    $request = stream_context_create(['http' => [
        'method' => 'POST', 'header' => $headers, 'timeout' => 10, 'ignore_errors' => true,
        'content' => json_encode($body, JSON_THROW_ON_ERROR | JSON_UNESCAPED_SLASHES | JSON_UNESCAPED_UNICODE),
    ]]);
    for ($pause = 0.2; ; $pause = min($pause * 2, 10)) {
        $http_response_header = [];
        $text = @file_get_contents($broker . $path, false, $request);
        $status = (int) (explode(' ', $http_response_header[0] ?? '')[1] ?? 0);
        $answer = $text === false ? null : json_decode($text, true);
        if ($status >= 200 && $status < 300 && $answer !== null) {
            return $answer;
        }
        if (!in_array($status, [0, 200, 429, 503, 504], true)) {
            throw new RuntimeException("$path: $status " . ($answer['error'] ?? $text));
        }
        foreach ($http_response_header as $line) {
            if (stripos($line, 'Retry-After:') === 0) {
                $pause = max($pause, (float) substr($line, 12));
            }
        }
        fwrite(STDERR, "$path: " . ($answer['error'] ?? 'no answer') . "; again in $pause s\n");
        usleep((int) ($pause * 1e6));
    }
};

// An object has a signed root channel; viewers subscribe below it.
$object = $call('/v1/objects', ['object_id' => 'show-7', 'type' => 'live', 'name' => 'Show 7'])['object'];
echo 'viewers subscribe to ', $object['realtime_channel'], "/score\n";

$goal = ['channel' => 'score', 'data' => ['home' => 1, 'away' => 0]];
$once = bin2hex(random_bytes(16));
echo 'first time  ', json_encode($call('/v1/objects/show-7/publish', $goal, $once)), "\n";
echo 'second time ', json_encode($call('/v1/objects/show-7/publish', $goal, $once)), "\n";

$batch = $call('/v1/publish', ['messages' => [
    ['object_id' => 'show-7', 'channel' => 'score', 'data' => ['home' => 2, 'away' => 0]],
    ['object_id' => 'show-7', 'channel' => 'ticker', 'data' => 'Second goal'],
]], bin2hex(random_bytes(16)));
foreach ($batch['results'] as $result) {
    echo 'batch       ', json_encode($result), "\n";
}
